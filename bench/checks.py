"""What health checks cost: ``python -m bench.checks [--rate N] [--seconds N] [CHECK ...]``.

As many servers as ``--rate`` are asked once a second (`lvsd.health.rounds`), on the loop that the
supervisor has. All are one server in another process, whose share does not count. Printed is the
CPU time of this process, as a share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from multiprocessing import get_context
from time import monotonic, process_time
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.health.base import Target
from lvsd.health.judge import Judge
from lvsd.health.registry import load
from lvsd.health.rounds import Patient, Rounds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from lvsd.health.probing import Result

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
WARM_UP_S: Final = 2.0
TIMEOUT_S: Final = 1.0


class Cost(NamedTuple):
    """``per_s`` probes a second, of which ``bad`` failed in all; ``share`` of a core."""

    per_s: float
    bad: int
    share: float


class _Server(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what writes."""
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """Answer."""
        self._transport.write(ANSWER)  # type: ignore[attr-defined]  # it is a stream


def _serve(ready: Connection) -> None:
    import uvloop  # noqa: PLC0415 - the process that is measured has none

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(_Server, "127.0.0.1", 0, backlog=4096)
        ready.send(listening.sockets[0].getsockname()[1])
        await listening.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run())


async def measure(name: str, port: int, rate: int, seconds: float) -> Cost:
    """Return what ``rate`` probes a second cost, over so many seconds."""
    bad = 0

    def found(patient: Patient, result: Result) -> None:
        nonlocal bad
        patient.judge.take(is_good=result.is_good, now=result.at)
        bad += not result.is_good

    def unknown(error: BaseException) -> None:
        raise error

    of_type = load(name)
    check = of_type({option.word: option.default for option in of_type.options})
    rounds = Rounds(found, unknown)
    for _ in range(rate):
        judge = Judge(fall=3, rise=2, now=monotonic())
        rounds.add(Patient(check, Target("127.0.0.1", port), judge, 1.0, 1.0, TIMEOUT_S))
    await asyncio.sleep(WARM_UP_S)
    asked, began, spent = rounds.asked, monotonic(), process_time()
    await asyncio.sleep(seconds)
    spent, took = process_time() - spent, monotonic() - began
    cost = Cost((rounds.asked - asked) / took, bad, spent / took)
    rounds.close()
    return cost


def main(argv: Sequence[str]) -> None:
    """Measure what the command line names, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks", allow_abbrev=False)
    parser.add_argument("check", nargs="*", metavar="CHECK", help="tcp, http")
    parser.add_argument("--rate", type=int, default=1000, help="probes a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (%(default)s)")
    options = parser.parse_args(argv)
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        port = ours.recv()
        for name in options.check or ("tcp", "http"):
            cost = asyncio.run(measure(name, port, options.rate, options.seconds))
            print(
                f"{name}: {cost.per_s:.0f} checks/s, {100 * cost.share:.1f}% of a core, "
                f"{1e6 * cost.share / cost.per_s:.0f} µs each, {cost.bad} failed"
            )
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main(sys.argv[1:])
