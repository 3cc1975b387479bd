"""A large configuration that is changed while it runs: how long each thing takes.

    python -m bench.changes [--services 10000] [--servers 10] [--changes 300]

Prints how long lvsd takes to start, how much memory all its processes have together (proportional
set size, proc_pid_smaps(5)), how long a listing takes, and how long it takes until a service that
is added, a real server of a known and of an unknown address, an edit and a removal are answered: by
then packets meet what came. Everything happens in namespaces that are removed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from bench.start import HERE, configuration, tree
from lvsd.control.client import ControlClient
from lvsd.lab import Lab
from lvsd.lab.notify import start_and_wait

if TYPE_CHECKING:
    from collections.abc import Callable

NEW_VIP: str = "10.200.{}.{}"


def memory_mb(processes: list[int]) -> dict[str, float]:
    """Return the proportional set size of each process in MB, by its name."""
    found: dict[str, float] = {}
    for process in processes:
        name = Path(f"/proc/{process}/comm").read_text("ascii").strip()
        text = Path(f"/proc/{process}/smaps_rollup").read_text("ascii")
        (line,) = [each for each in text.splitlines() if each.startswith("Pss:")]
        found[f"{name} {process}"] = int(line.split()[1]) / 1024
    return found


def service(number: int) -> dict[str, Any]:
    """Name a service that the configuration does not have."""
    return {"protocol": "tcp", "address": NEW_VIP.format(*divmod(number, 250)), "port": 80}


def timed(client: ControlClient, count: int, command: Callable[[int], dict[str, Any]]) -> str:
    """Do as many changes, one after the other; return their median and their 99th percentile."""
    taken = []
    for number in range(count):
        request = command(number)
        began = time.perf_counter()
        client.call("change", commands=[request])
        taken.append(1000 * (time.perf_counter() - began))
    return f"{median(taken):7.2f} ms, 99 % {quantiles(taken, n=100)[-1]:7.2f} ms"


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    with Lab(name="lvsd-bench", servers=1) as lab:
        director = lab.director
        director.ip(f"route add 10.128.0.0/9 via {lab.servers[0].addresses.v4}")
        file, control = director.directory / "lvsd.toml", director.directory / "control.sock"
        lines = [f'[daemon]\ncontrol = "{control}"']
        lines += configuration(options.services, options.servers)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        began = time.perf_counter()
        daemon = start_and_wait(director, [HERE, "-c", file], "lvsd")
        print(f"start                 {time.perf_counter() - began:7.2f} s")
        found = memory_mb([*tree(daemon.process.pid)])
        print(f"memory                {sum(found.values()):7.0f} MB: {found}")
        with ControlClient(control) as client:
            began = time.perf_counter()
            services = sum(1 for _ in client.items("list"))
            print(f"listing {services:6}        {time.perf_counter() - began:7.2f} s")
            known, count = "10.128.0.0", options.changes
            server = {"address": known, "port": 80}
            cases: dict[str, Callable[[int], dict[str, Any]]] = {
                "service added": lambda n: {"command": "add_service", "service": service(n)},
                "its server": lambda n: {
                    "command": "add_server",
                    "service": service(n),
                    "server": server,
                },
                "a new server": lambda n: {
                    "command": "add_server",
                    "service": service(n),
                    "server": server | {"address": NEW_VIP.format(*divmod(9_000 + n, 250))},
                },
                "server edited": lambda n: {
                    "command": "edit_server",
                    "service": service(n),
                    "server": server | {"weight": 7},
                },
                "service removed": lambda n: {"command": "remove_service", "service": service(n)},
            }
            for name, command in cases.items():
                fewer = count if name != "service removed" else max(count // 10, 2)
                print(f"{name:20}  {timed(client, fewer, command)}")
        daemon.stop()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--servers", type=int, default=10, help="of each service")
    parser.add_argument("--changes", type=int, default=300, help="of each kind")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
