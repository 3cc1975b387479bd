"""Attributes there and back, and what is no attribute."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.io.netlink import (
    NETLINK_NETFILTER,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    Link,
    Message,
    attribute,
    attributes,
    be16,
    be32,
    encode,
    messages,
    nested,
    notifications,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_attributes_are_read_back_without_padding_and_flags() -> None:
    body = b"head" + be16(1, 7) + string(2, "lvsd") + nested(3, be32(1, -1)) + attribute(4, b"")
    found = attributes(body, 4)
    assert found == {1: b"\0\x07", 2: b"lvsd\0", 3: be32(1, 0xFFFFFFFF), 4: b""}


def test_reading_stops_at_an_attribute_that_lies_about_its_length() -> None:
    assert attributes(be16(1, 7) + b"\x03\0\x02\0" + be16(3, 7), 0) == {1: b"\0\x07"}
    assert attributes(be16(1, 7) + b"\xff\xff\x02\0ab", 0) == {1: b"\0\x07", 2: b"ab"}
    assert attributes(b"\x08\0", 0) == {}


class Kernel:
    """A socket whose other end answers each request with the next of some lists of messages."""

    def __init__(self, *answers: Sequence[Message | OSError]) -> None:
        self._answers = [*answers]
        self._ready: list[bytes | OSError] = []
        self.asked = self.sent = 0

    def send(self, requests: bytes) -> None:
        """Have the answers to each request ready."""
        self.sent += 1
        for sequence, _ in messages(requests):
            self.asked += 1
            answers = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            self._ready += [
                encode(each, sequence) if isinstance(each, Message) else each for each in answers
            ]

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        """Return one message, or raise what stands in its place."""
        if not self._ready:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        answer = self._ready.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def link_to(kernel: Kernel) -> Link:
    link = Link(NETLINK_NETFILTER)
    link.close()
    link._socket = kernel  # type: ignore[assignment]
    return link


LIST = Message(18, 0, b"")
DONE = Message(NLMSG_DONE, 2, bytes(4))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_list_that_changed_while_it_was_told_is_asked_for_again(at: int) -> None:
    old = [Message(16, 2, b"old1"), Message(16, 2, b"old2"), DONE]
    old[at] = old[at]._replace(flags=2 | NLM_F_DUMP_INTR)
    kernel = Kernel(old, [Message(16, 2, b"new1"), DONE])
    assert [answer.body for answer in link_to(kernel).dump(LIST)] == [b"new1"]
    assert kernel.asked == 2


def test_a_list_that_never_stands_still_is_an_error_in_the_end() -> None:
    kernel = Kernel([Message(16, 2 | NLM_F_DUMP_INTR, b"x"), DONE])
    with pytest.raises(OSError, match="changes faster") as caught:
        link_to(kernel).dump(LIST)
    assert caught.value.errno == errno.EINTR
    assert kernel.asked > 1


def test_a_notification_comes_with_the_port_of_whoever_brought_it_about() -> None:
    first, second = (bytearray(encode(Message(kind, 0, b"body"), 1)) for kind in (7, 8))
    first[12:16], second[12:16] = (port.to_bytes(4, sys.byteorder) for port in (4711, 0))
    assert list(notifications(bytes(first + second))) == [
        (4711, Message(7, 0, b"body")),
        (0, Message(8, 0, b"body")),
    ]
