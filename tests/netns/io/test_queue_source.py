"""Packets through a real NFQUEUE: sizes, turns, overload, errors."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from lvsd.core.verdict import Verdict
from lvsd.errors import KernelError
from lvsd.io.divert import Divert, Diverted
from lvsd.io.nfqueue import COPY_RANGE, QueueSource
from lvsd.io.queue_statistics import queue_statistics
from lvsd.packet.address import pack
from tests.netns.io.hosts import CLIENT4, CLIENT6, PATIENCE_S, SERVER4, SERVER6, UDP, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.io.conftest import Queue

PORT = 5300
NUMBER = 7


@pytest.fixture(autouse=True)
def diverted(row: Row) -> Iterator[Divert]:
    """Divert UDP to the server, port PORT, into queue NUMBER."""
    del row
    divert = Divert(NUMBER)
    divert.up(Diverted(frozenset((pack(vip), UDP, PORT) for vip in (SERVER4, SERVER6))))
    yield divert
    divert.down()


@pytest.mark.parametrize(
    ("client", "server"),
    [pytest.param(CLIENT4, SERVER4, id="ipv4"), pytest.param(CLIENT6, SERVER6, id="ipv6")],
)
@pytest.mark.parametrize(
    ("mtu", "size"),
    [(9000, 3968), (9000, 3989), (9000, 8952), (65535, 65000), (1500, 65000)],
)
def test_a_packet_of_any_size_passes_whole(
    row: Row, queue: Queue, client: str, server: str, mtu: int, size: int
) -> None:
    row.set_mtu(mtu)
    payload = (bytes(range(251)) * 260)[:size]
    with row.client.udp(client) as sender, row.server.udp(server, PORT) as receiver:
        sender.sendto(payload, (server, PORT))
        queue.wait()
        assert receiver.recv(1 << 16) == payload
    assert queue.packets[0][-size:] == payload


@pytest.mark.parametrize("size", [8952, 65000])
def test_a_packet_of_any_size_is_replaced_whole(row: Row, size: int) -> None:
    row.set_mtu(9000)

    def zero_checksum(data: bytes, *_: float) -> bytes:
        return data[:26] + b"\0\0" + data[28:].replace(b"a", b"b")

    source = QueueSource(NUMBER, zero_checksum, clock=lambda: 0.0)
    source.open()
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        sender.sendto(b"a" * size, (SERVER4, PORT))
        wait_for(1)
        source.turn()
        assert receiver.recv(1 << 16) == b"b" * size
    source.close()


def test_a_packet_that_no_queue_can_hand_over_whole_is_dropped_and_counted(
    row: Row, queue: Queue
) -> None:
    row.set_mtu(65535)
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        sender.sendto(bytes(COPY_RANGE - 28 + 1), (SERVER4, PORT))
        sender.sendto(b"next", (SERVER4, PORT))
        queue.wait()
        assert receiver.recv(1 << 16) == b"next"
    assert queue.source.stats.truncated == 1


def test_a_turn_is_bounded_and_reads_the_clock_once(row: Row) -> None:
    ticks = iter(range(100))
    seen: list[float] = []
    turns: list[int] = []

    def handle(_data: bytes, _hook: int, _mark: int, _indev: int, now: float) -> Verdict:
        seen.append(now)
        return Verdict.DROP

    source = QueueSource(
        NUMBER,
        handle,
        clock=lambda: float(next(ticks)),
        turn=4,
        after_turn=lambda: turns.append(len(seen)),
    )
    source.open()
    send(row, 10)
    for _ in range(3):
        source.turn()
    source.close()
    assert seen == [0.0] * 4 + [1.0] * 4 + [2.0] * 2
    assert turns == [4, 8, 10]


def test_the_loop_comes_back_for_what_a_turn_left(row: Row) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def handle(data: bytes, *_: float) -> Verdict:
            seen.append(data)
            if len(seen) == 10:
                done.set()
            return Verdict.DROP

        source = QueueSource(NUMBER, handle, clock=loop.time, turn=4)
        source.open()
        send(row, 10)
        source.start(loop)
        async with asyncio.timeout(5):
            await done.wait()
        source.close()

    uvloop.run(main())
    assert len(seen) == 10


@pytest.mark.parametrize("kind", [LookupError, GeneratorExit, SystemExit])
def test_an_exception_in_the_handler_drops_the_packet_and_the_next_one_passes(
    row: Row, kind: type[BaseException]
) -> None:
    errors: list[BaseException] = []

    def handle(data: bytes, *_: float) -> Verdict:
        if data.endswith(b"bad"):
            raise kind("bad")
        return Verdict.PASS

    source = QueueSource(NUMBER, handle, clock=lambda: 0.0, on_error=errors.append)
    source.open()
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        for payload in (b"bad", b"bad", b"good"):
            sender.sendto(payload, (SERVER4, PORT))
        wait_for(3)
        source.turn()
        assert receiver.recv(100) == b"good"
    stats = source.stats
    source.close()
    assert (stats.received, stats.handler_errors, stats.waiting) == (3, 2, 0)
    assert [repr(error) for error in errors] == [f"{kind.__name__}('bad')"]


@pytest.mark.parametrize("answer", [bytes(COPY_RANGE + 1), None, 17])
def test_an_answer_that_is_no_verdict_counts_as_an_error_of_the_handler(
    row: Row, answer: object
) -> None:
    source = QueueSource(NUMBER, lambda *_: answer, clock=lambda: 0.0)  # type: ignore[arg-type]
    source.open()
    send(row, 1)
    source.turn()
    stats = source.stats
    source.close()
    assert (stats.received, stats.handler_errors, stats.waiting) == (1, 1, 0)


def test_what_the_kernel_drops_is_counted_when_too_many_wait(row: Row) -> None:
    source = QueueSource(NUMBER, lambda *_: Verdict.DROP, clock=lambda: 0.0, queue_length=5)
    source.open()
    send(row, 8)
    waiting = queue_statistics(NUMBER)
    source.turn()
    stats = source.stats
    source.close()
    assert waiting is not None
    assert (waiting.waiting, waiting.queue_dropped) == (5, 3)
    assert (stats.received, stats.kernel_dropped, stats.waiting) == (5, 3, 0)


def test_after_an_overrun_packets_come_again_as_soon_as_there_is_room(row: Row) -> None:
    source = QueueSource(
        NUMBER, lambda *_: Verdict.DROP, clock=lambda: 0.0, turn=4, receive_buffer=16 << 10
    )
    source.open()
    send(row, 100)
    before = source.stats.kernel_dropped
    source.turn()
    room_for = 4
    send(row, room_for)
    after = source.stats
    source.close()
    assert before > 0
    assert after.kernel_dropped == before
    assert after.waiting == 100 - before


def test_a_queue_can_be_closed_while_its_receive_buffer_is_full(row: Row) -> None:
    source = QueueSource(
        NUMBER, lambda *_: Verdict.DROP, clock=lambda: 0.0, receive_buffer=16 << 10
    )
    source.open()
    send(row, 100)
    assert source.stats.kernel_dropped > 0
    source.close()
    assert queue_statistics(NUMBER) is None


def test_stop_gives_what_is_waiting_its_verdict(row: Row, diverted: Divert) -> None:
    seen: list[bytes] = []

    def handle(data: bytes, *_: float) -> Verdict:
        seen.append(data)
        return Verdict.PASS

    async def main() -> None:
        source = QueueSource(NUMBER, handle, clock=lambda: 0.0, turn=4)
        source.open()
        source.start(asyncio.get_running_loop())
        send(row, 10)
        diverted.down()
        source.stop()
        assert source.stats.waiting == 0
        source.close()

    uvloop.run(main())
    assert len(seen) == 10


def test_a_queue_that_is_taken_is_refused_with_its_holder_named(queue: Queue) -> None:
    assert queue.number == NUMBER
    with pytest.raises(KernelError, match=r"take NFQUEUE 7: it is taken by netlink port \d+"):
        QueueSource(NUMBER, lambda *_: Verdict.PASS, clock=lambda: 0.0).open()


def test_a_closed_queue_can_be_opened_again() -> None:
    source = QueueSource(NUMBER, lambda *_: Verdict.PASS, clock=lambda: 0.0)
    for _ in range(2):
        source.open()
        assert queue_statistics(NUMBER) is not None
        source.close()
        assert queue_statistics(NUMBER) is None


def send(row: Row, packets: int) -> None:
    """Send small packets into the queue, and return when the kernel has dealt with them all."""
    expected = arrived() + packets
    with row.client.udp(CLIENT4) as sender:
        for _ in range(packets):
            sender.sendto(b"x", (SERVER4, PORT))
    wait_for(expected)


def wait_for(expected: int) -> None:
    """Return when so many packets have come to the queue since it was opened."""
    deadline = time.monotonic() + PATIENCE_S
    while arrived() < expected:
        assert time.monotonic() < deadline, f"{arrived()} packets arrived, not {expected}"
        os.sched_yield()


def arrived() -> int:
    """Return how many packets ever came to the queue, dropped or not."""
    statistics = queue_statistics(NUMBER)
    assert statistics is not None
    return statistics.received + statistics.queue_dropped
