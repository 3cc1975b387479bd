"""What it takes to go on with the connections of an engine before: processor time, in seconds.

    python -m bench.adopting [--connections 100000] [--modes nat fullnat] [--versions 4 6]

For each mode and version: until the first packet can be handled, the first packet of each of 1000
connections, and the rest in the background. The records lie in a file as they do in an engine.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import TYPE_CHECKING, Final

from bench.loads import NOW, world
from bench.memory import _clients
from lvsd.core.keeper import Keeper
from lvsd.core.resuming import Resumption
from lvsd.core.verdict import Hook
from lvsd.io.state_file import StateFile
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from lvsd.core.balancer import Balancer

SERVERS: Final = 3
BY_NEED: Final = 1000
SYN, ACK = 0x02, 0x10
FLAGS_AT: Final = 13


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--modes", nargs="+", default=["nat", "fullnat"])
    parser.add_argument("--versions", nargs="+", type=int, default=[4, 6])
    options = parser.parse_args()
    gc.disable()
    for mode in options.modes:
        for version in options.versions:
            with TemporaryDirectory(dir="/dev/shm") as directory:
                path = Path(directory, "state")
                write(path, mode, version, options.connections)
                print(measured(path, mode, version, options.connections), flush=True)


def write(path: Path, mode: str, version: int, connections: int) -> None:
    """Have an engine's file of so many established connections."""
    balancer = world(version, TCP, SERVERS, mode=mode)
    balancer.settings.max_connections = 2 * connections
    file = StateFile.open(path)
    file.begin_reading()
    keeper = Keeper(balancer.flows, balancer.services, file)
    balancer.flows.observers.add(keeper)
    flags_at = (20 if version == 4 else 40) + FLAGS_AT
    clients = _clients(version)
    for _ in range(connections):
        packet = next(clients)
        for flags in (SYN, ACK):
            packet[flags_at] = flags
            balancer.handle(bytes(packet), Hook.PREROUTING, 0, 1, NOW)
        balancer.outbox.departures.clear()
    if balancer.flows.table.count != connections:
        raise ValueError(f"there are {balancer.flows.table.count} connections")
    for steps in (keeper.keeping(), keeper.keeping_memories()):
        for _ in steps:
            pass
    file.end_reading()
    file.close()


def measured(path: Path, mode: str, version: int, connections: int) -> str:
    """Return a line about an engine that goes on with a file."""
    balancer = world(version, TCP, SERVERS, mode=mode)
    balancer.settings.max_connections = 2 * connections
    file = StateFile.open(path)
    begun = process_time()
    keeper = Keeper(balancer.flows, balancer.services, file)
    resumption = Resumption(balancer, keeper, file)
    for _ in resumption.steps(file.begin_reading(), NOW):
        pass
    balancer.flows.observers.add(keeper)
    ready = process_time()
    if resumption.connections != connections:
        raise ValueError(f"{resumption.connections} connections go on: {resumption.dropped}")
    by_need = _first_packets(balancer, version)
    rest = process_time()
    for _ in resumption.rest():
        pass
    over = process_time()
    file.close()
    return (
        f"{mode:8} IPv{version}  {ready - begun:.3f} s before packets, "
        f"{by_need / BY_NEED * 1e6:.0f} us for the first packet of a connection, "
        f"{over - rest:.2f} s in the background"
    )


def _first_packets(balancer: Balancer, version: int) -> float:
    """Return the seconds that the next packets of some connections took."""
    flags_at = (20 if version == 4 else 40) + FLAGS_AT
    clients, packets = _clients(version), []
    for _ in range(BY_NEED):
        packet = next(clients)
        packet[flags_at] = ACK
        packets.append(bytes(packet))
    begun = process_time()
    for data in packets:
        balancer.handle(data, Hook.PREROUTING, 0, 1, NOW)
    taken = process_time() - begun
    balancer.outbox.departures.clear()
    if balancer.tally.drops:
        raise ValueError(f"not all was forwarded: {balancer.dropped()}")
    return taken


if __name__ == "__main__":
    main()
