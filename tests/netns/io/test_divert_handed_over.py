"""What one lvsd diverts goes on with the next, by the socket that its table ends with."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io.divert import Divert, Diverted
from tests.netns.io.conftest import Queue
from tests.netns.io.hosts import CLIENT4, SERVER4, UDP, comparable, ruleset
from tests.netns.io.test_divert import BOTH, OTHER_PORT, PORT, endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.hosts import Row


class OtherQueue(Queue):
    """NFQUEUE 8."""

    number = 8


@pytest.fixture
def other(row: Row) -> Iterator[Queue]:
    """Open the second queue."""
    del row
    queue = OtherQueue()
    queue.source.open()
    try:
        yield queue
    finally:
        queue.source.close()


@pytest.fixture
def heir(queue: Queue, other: Queue) -> Iterator[Divert]:
    """Have a divert that goes on with nothing yet, and leads to the second queue."""
    del queue
    heir = Divert(other.number)
    yield heir
    heir.down()


def handed_over(before: Divert) -> int:
    """Return the socket of a divert whose process is gone."""
    descriptor = os.dup(before.descriptor)
    assert before._link is not None
    before._link.close()
    return descriptor


@pytest.mark.parametrize(("client", "server"), BOTH)
def test_packets_that_wait_keep_their_place_and_others_come_by_the_other_queue(
    row: Row, queue: Queue, other: Queue, heir: Divert, client: str, server: str
) -> None:
    before = Divert(queue.number)
    before.up(Diverted(endpoints((server, UDP, PORT))))
    with (
        row.client.udp(client) as sender,
        row.server.udp(server, PORT) as ours,
        row.server.udp(server, OTHER_PORT) as more,
    ):
        sender.sendto(b"before", (server, PORT))
        heir.go_on(handed_over(before))
        heir.prepare()
        sender.sendto(b"meanwhile", (server, PORT))
        heir.up(Diverted(endpoints((server, UDP, PORT), (server, UDP, OTHER_PORT))))
        sender.sendto(b"after", (server, PORT))
        sender.sendto(b"after", (server, OTHER_PORT))
        queue.wait(2)
        assert [ours.recv(100), ours.recv(100)] == [b"before", b"meanwhile"]
        other.wait(2)
        assert (ours.recv(100), more.recv(100)) == (b"after", b"after")
    assert len(queue.packets) == 2


def test_what_is_not_diverted_any_more_is_left_to_the_host(
    row: Row, queue: Queue, other: Queue, heir: Divert
) -> None:
    before = Divert(queue.number)
    both = endpoints((SERVER4, UDP, PORT), (SERVER4, UDP, OTHER_PORT))
    before.up(Diverted(both))
    heir.go_on(handed_over(before))
    heir.up(Diverted(endpoints((SERVER4, UDP, OTHER_PORT))))
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as ours:
        sender.sendto(b"not ours", (SERVER4, PORT))
        assert ours.recv(100) == b"not ours"
    assert (queue.packets, other.packets) == ([], [])
    assert heir.mend() == []


def test_rules_of_another_version_are_replaced_as_a_whole(
    row: Row, queue: Queue, heir: Divert
) -> None:
    del row
    diverted = Diverted(endpoints((SERVER4, UDP, PORT)))
    fresh = Divert(heir._queue)
    fresh.up(diverted)
    expected = comparable(ruleset())
    fresh.down()
    before = Divert(queue.number, on_crash="bypass")  # which has other rules, and no guard
    before.up(diverted)
    heir.go_on(handed_over(before))
    heir.up(diverted)
    assert comparable(ruleset()) == expected


def test_a_table_ends_with_the_one_that_goes_on_and_not_with_the_one_before(
    row: Row, queue: Queue, heir: Divert
) -> None:
    del row
    before = Divert(queue.number)
    before.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    heir.go_on(handed_over(before))
    assert {each["table"]["name"] for each in ruleset() if "table" in each} == {
        "lvsd",
        "lvsd_guard",
    }
    assert heir.down(hold_s=30)
    held = [each["set"] for each in ruleset() if "set" in each and each["set"].get("elem")]
    assert {each["table"] for each in held} == {"lvsd_hold"}
    assert {"services4", "vips4"} <= {each["name"] for each in held}


def test_a_change_that_is_refused_leaves_what_stands(
    row: Row, queue: Queue, heir: Divert, monkeypatch: pytest.MonkeyPatch
) -> None:
    del row
    before = Divert(queue.number)
    before.up(Diverted(endpoints((SERVER4, UDP, PORT))))
    expected = comparable(ruleset())
    heir.go_on(handed_over(before))
    heir.prepare()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    with monkeypatch.context() as patch:
        patch.setattr("lvsd.io.nf_tables.transact", refuse)
        with pytest.raises(KernelError, match="root"):
            heir.up(Diverted())
    assert comparable(ruleset()) == expected
