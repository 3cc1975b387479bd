"""How long lvsd takes from exec to "ready", by how many services there are.

    python -m bench.start [--services 500 1000 2000 4000] [--servers 10] [--rounds 5]
    python -m bench.start --interface front --services 4000 --servers 1
    python -m bench.start --lvsd OTHER/.venv/bin/lvsd .venv/bin/lvsd
    python -m bench.start --services 1 --servers 1

Each service has its own VIP, and each real server its own address behind a router. With
``--interface`` lvsd puts the VIPs on that interface. Several programs (``--lvsd``) take turns in
every round, after a start that is not counted: it leaves the bytecode that an installed lvsd has.
Prints the medians of the time, of processor time up to then, the engine's included, which says more
on a busy machine, and of processor time from exec to exit. Everything happens in namespaces that
are removed.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from lvsd.lab import Lab
from lvsd.lab.notify import start_and_wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab.namespace import Namespace

HERE = Path(__file__).parent.parent / ".venv/bin/lvsd"
VIPS, RIPS = 0x0A400000, 0x0A800000
"""10.64.0.0 and 10.128.0.0, from where addresses are counted up."""


def _address(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


def configuration(services: int, servers: int, interface: str = "") -> Iterator[str]:
    """Yield the lines of a configuration."""
    for service in range(services):
        yield "[[service]]"
        yield f'name = "web-{service}"'
        yield f'address = "{_address(VIPS + service)}:80"'
        yield 'protocol = "tcp"'
        if interface:
            yield f'interface = "{interface}"'
        for server in range(service * servers, (service + 1) * servers):
            yield "[[service.server]]"
            yield f'address = "{_address(RIPS + server)}:80"'


class Taken(NamedTuple):
    """What a start took, in seconds: until it was ready, and of processor time until its end."""

    ready_s: float
    processor_s: float
    in_all_s: float


def time_taken(director: Namespace, program: Path, file: Path) -> Taken:
    """Start lvsd, and stop it. Raise KernelError when it is not ready in time."""
    argv: list[str | Path] = ["env", "-u", "PYTHONDONTWRITEBYTECODE", program, "-c", file]
    before_s = _ended_s()
    began = time.perf_counter()
    daemon = start_and_wait(director, argv, "lvsd")
    ready_s = time.perf_counter() - began
    processor_s = sum(map(_processor_s, tree(daemon.process.pid)))
    daemon.stop()
    return Taken(ready_s, processor_s, _ended_s() - before_s)


def tree(process: int) -> Iterator[int]:
    """Yield a process and those that it has started."""
    yield process
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text(encoding="utf-8").split():
            yield from tree(int(child))


def _processor_s(process: int) -> float:
    """Return the processor time of a process up to now, with what has ended of it (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _ended_s() -> float:
    """Return the processor time of all that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--servers", type=int, default=10, help="of each service")
    parser.add_argument("--interface", default="", help="of the VIPs: front, or lo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lvsd", type=Path, nargs="+", default=[HERE])
    options = parser.parse_args()
    with Lab(name="lvsd-bench", servers=1) as lab:
        director = lab.director
        director.ip(f"route add 10.128.0.0/9 via {lab.servers[0].addresses.v4}")
        file = director.directory / "lvsd.toml"
        control = director.directory / "control.sock"
        for services in options.services:
            lines = [f'[daemon]\ncontrol = "{control}"']
            lines += configuration(services, options.servers, options.interface)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            taken: dict[Path, list[Taken]] = {program: [] for program in options.lvsd}
            for number in range(1 + options.rounds):
                for program, each in taken.items():
                    took = time_taken(director, program.absolute(), file)
                    if number:
                        each.append(took)
            for program, each in taken.items():
                ready, processor, in_all = zip(*each, strict=True)
                spread = f"{min(ready):.2f} to {max(ready):.2f}"
                print(
                    f"{services:5} services: {median(ready):5.2f} s ({spread}), of the processor "
                    f"{median(processor):5.2f} s, to the end {median(in_all):5.2f} s  {program}"
                )


if __name__ == "__main__":
    main()
