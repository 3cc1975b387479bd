"""Packets beside clients that list connections: how many of them the event loop still handles.

    python -m bench.listing [--seconds 4] [--clients 0 1 32]

A director with 10,000 connections, its control socket, and 64 packets of theirs in every turn of
the loop, as from a queue that is never empty. Another process lists the connections over and over,
by as many clients.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from functools import partial
from pathlib import Path

import uvloop

from bench.loads import NOW, established
from lvsd.control.answers import answers
from lvsd.control.methods import Context
from lvsd.control.server import ControlServer
from lvsd.packet.view import TCP
from lvsd.turns import Turns

TURN = 64
REQUEST = b'{"method": "connections"}\n'


class Packets:
    """Handles packets for ever, a turn of the loop at a time."""

    def __init__(self) -> None:
        self.balancer, self.load = established(4, TCP, 10)
        self.handled = 0
        self.at = 0

    def turn(self) -> None:
        """Handle so many packets."""
        handle = self.balancer.handle
        for data, hook in self.load[self.at : self.at + TURN]:
            handle(data, hook, 0, 2, NOW)
        self.handled += TURN
        self.at = (self.at + TURN) % (len(self.load) - TURN)
        asyncio.get_running_loop().call_soon(self.turn)


def _list(path: str, clients: int) -> None:
    """List for ever by so many clients."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(REQUEST)
            while b'"more":true' in (await reader.readline())[-16:]:
                pass

    async def all_of_them() -> None:
        ends = []
        for _ in range(clients):  # one by one: the backlog is short
            ends.append(await asyncio.open_unix_connection(path, limit=1 << 24))
            await asyncio.sleep(0.01)
        await asyncio.gather(*(client(*each) for each in ends))

    asyncio.run(all_of_them())


async def _measure(clients: int, seconds: float) -> float:
    """Return how many packets a second are handled beside so many clients."""
    packets = Packets()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "control.sock")
        context = Context(packets.balancer, packets.balancer.now)
        turns = Turns(lambda: packets.handled)
        server = ControlServer(partial(answers, context, turns=turns), path)
        await server.start()
        other = multiprocessing.get_context("spawn").Process(
            target=_list, args=(str(path), clients), daemon=True
        )
        if clients:
            other.start()
            await asyncio.sleep(2.0)
        packets.turn()
        before, began = packets.handled, time.process_time()
        await asyncio.sleep(seconds)
        rate = (packets.handled - before) / (time.process_time() - began)
        if clients:
            other.terminate()
            other.join()
        await server.stop()
    return rate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[0, 1, 32])
    options = parser.parse_args()
    for clients in options.clients:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rate = runner.run(_measure(clients, options.seconds))
        print(f"{clients:3} clients: {rate:9.0f} packets per second of processor time")


if __name__ == "__main__":
    main()
