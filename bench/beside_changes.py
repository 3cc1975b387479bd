"""What changes cost packets: round trips through lvsd, with and without changes beside, in turns.

    python -m bench.beside_changes [--services 1000] [--rate 1000] [--together 1] [--rounds 7]
    python -m bench.beside_changes --first

A client asks a UDP service in NAT again and again, for two seconds a turn. In every other turn
another program changes other services at that rate: one is added with a real server, the server is
edited, the service is removed, ``--together`` commands in a request. Prints the median and the 99th
percentile of the round trips of both kinds of turns, and the ratio of the percentiles: the median
over the rounds, and the lowest and the highest. Everything happens in namespaces that are removed.

With ``--first`` client, server and engine go before all other programs (SCHED_FIFO, sched(7)), and
the client rests for a millisecond after each answer. On a machine that has other things to do that
leaves what lvsd itself keeps packets waiting for; supervisor and changes have what is left.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median, quantiles
from typing import TYPE_CHECKING

from bench.start import HERE, configuration, tree
from lvsd.lab import Lab
from lvsd.lab.notify import start_and_wait
from lvsd.lab.program import start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 5300
TURN_S = 2.0
REST_S = 0.001
ECHO = f"""
import socket
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.bind(("", {PORT}))
while True:
    data, peer = there.recvfrom(2048)
    there.sendto(data, peer)
"""
CHANGES = """
import sys, time
from pathlib import Path
from lvsd.control.client import ControlClient
control, rate, together = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

def commands():
    number = int(1000 * time.time())
    while True:
        number = (number + 1) % 50_000
        service = {"protocol": "tcp", "address": "10.201.%d.%d" % divmod(number, 250), "port": 80}
        server = {"address": "10.128.0.0", "port": 80}
        yield {"command": "add_service", "service": service}
        yield {"command": "add_server", "service": service, "server": server}
        yield {"command": "edit_server", "service": service, "server": server | {"weight": 9}}
        yield {"command": "remove_service", "service": service}

given, done, began = commands(), 0, time.monotonic()
with ControlClient(control) as client:
    while True:
        client.call("change", commands=[next(given) for _ in range(together)])
        done += together
        sys.stdout.write(f"{done}\\n")
        sys.stdout.flush()
        ahead_s = done / rate - (time.monotonic() - began)
        if ahead_s > 0:
            time.sleep(ahead_s)
"""


@contextmanager
def changing(control: Path, rate: float, together: int) -> Iterator[list[float]]:
    """Have another program change services; put into the list how many a second it did."""
    argv = [sys.executable, "-c", CHANGES, str(control), str(rate), str(together)]
    began, did = time.monotonic(), [0.0]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        yield did
        process.terminate()
        said, _ = process.communicate()
    did[0] = int((said.split() or ["0"])[-1]) / (time.monotonic() - began)


def put_first(*processes: int) -> None:
    """Let processes go before all others; those that they start do not."""
    for process in processes:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(process, policy, os.sched_param(5))


def round_trips(client: socket.socket, vip: str, rest_s: float) -> list[float]:
    """Ask for two seconds; return how long each answer took, in ms; a lost one counts 1,000."""
    taken: list[float] = []
    end = time.perf_counter() + TURN_S
    while (began := time.perf_counter()) < end:
        asked = b"%100d" % len(taken)
        client.sendto(asked, (vip, PORT))
        try:
            while client.recv(2048) != asked:
                pass  # the answer to an earlier one
        except TimeoutError:
            taken.append(1000.0)
        else:
            taken.append(1000 * (time.perf_counter() - began))
        time.sleep(rest_s)
    return taken


def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    with Lab(name="lvsd-bench", servers=1) as lab:
        director, server = lab.director, lab.servers[0]
        director.ip(f"route add 10.128.0.0/9 via {server.addresses.v4}")
        file, control = director.directory / "lvsd.toml", director.directory / "control.sock"
        lines = [f'[daemon]\ncontrol = "{control}"\nlog_level = "warning"']
        lines += ["[[service]]", 'name = "echo"', f'address = "{lab.vip.v4}:{PORT}"']
        lines += ['protocol = "udp"', "[[service.server]]"]
        lines += [f'address = "{server.addresses.v4}:{PORT}"']
        lines += configuration(options.services, 10)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        echo = start(server, [sys.executable, "-c", ECHO], "echo")
        daemon = start_and_wait(director, [HERE, "-c", file], "lvsd")
        with lab.client.entered():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(1)
        if options.first:
            *_, engine = tree(daemon.process.pid)
            put_first(0, echo.process.pid, engine)
        about = client, lab.vip.v4, REST_S if options.first else 0.0
        round_trips(*about)
        alone, beside, rates = [], [], []
        for _ in range(options.rounds):
            alone.append(round_trips(*about))
            with changing(control, options.rate, options.together) as did:
                beside.append(round_trips(*about))
            rates.append(did[0])
        daemon.stop()
    show(alone, beside, rates)


def show(alone: list[list[float]], beside: list[list[float]], rates: list[float]) -> None:
    """Print what was measured, a list of round trips for each turn."""
    ends = []
    for name, turns in (("alone", alone), ("beside", beside)):
        percentiles = [quantiles(turn, n=100)[-1] for turn in turns]
        ends.append(percentiles)
        middle = median(median(turn) for turn in turns)
        print(f"{name:7} median {middle:6.3f} ms, 99 % {median(percentiles):6.3f} ms")
    ratios = [after / before for before, after in zip(*ends, strict=True)]
    print(f"changes {median(rates):.0f} a second")
    print(f"ratio   {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000.0, help="of changes, a second")
    parser.add_argument("--together", type=int, default=1, help="commands in a request")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--first", action="store_true", help="before all other programs")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
