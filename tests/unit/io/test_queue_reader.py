"""The object that NetfilterQueue reads from, and the kernel's own counters."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io import queue_statistics as statistics
from lvsd.io.nfqueue import _BoundedReader, total_length
from lvsd.io.queue_statistics import QueueStatistics, program_of, queue_statistics

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reader_hands_out_as_many_messages_as_the_turn_has() -> None:
    reader = _BoundedReader()
    reader.receive = lambda _size, _flags: b"message"
    reader.left = 2
    assert [reader.recv(4096), reader.recv(4096)] == [b"message"] * 2
    with pytest.raises(BlockingIOError):
        reader.recv(4096)


def test_a_reader_asks_for_more_than_netfilterqueue_does() -> None:
    asked = []

    def receive(size: int, _flags: int) -> bytes:
        asked.append(size)
        return b""

    reader = _BoundedReader()
    reader.receive = receive
    reader.left = 1
    reader.recv(4096)
    assert asked[0] > 0xFFFF


def test_an_error_of_the_socket_is_passed_on_and_costs_no_part_of_the_turn() -> None:
    def receive(_size: int, _flags: int) -> bytes:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    reader = _BoundedReader()
    reader.receive = receive
    reader.left = 5
    with pytest.raises(OSError, match="Cannot allocate"):
        reader.recv(4096)
    assert reader.left == 5


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\x45\0\x23\x28" + bytes(16), 9000),
        (b"\x60\0\0\0\x23\x28" + bytes(34), 9040),
        (b"\x60\0\0\0\0\0" + bytes(34), 0),
    ],
)
def test_the_length_that_a_header_claims(header: bytes, expected: int) -> None:
    assert total_length(header) == expected


def test_the_line_of_the_asked_queue_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nfnetlink_queue"
    file.write_text(
        "    6  99999     0 2  4016     0     0        1  1\n"
        "    7  12345     3 2 65531    10    20      500  1\n"
    )
    monkeypatch.setattr(statistics, "_STATISTICS", file)
    assert queue_statistics(7) == QueueStatistics(7, 12345, 3, 2, 65531, 10, 20, 500)
    assert queue_statistics(8) is None


def test_a_kernel_without_nfqueue_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_STATISTICS", tmp_path / "nfnetlink_queue")
    with pytest.raises(KernelError, match="modprobe nfnetlink_queue"):
        queue_statistics(7)


def test_a_port_that_is_no_process_has_no_program() -> None:
    assert program_of(0xFFFFFFF0) == ""
