"""Carry out scenarios on the IPVS of the kernel that runs this; write down what was observed.

Usage, as root, in a kernel of its own (`tests.kernel.judge` boots one)::

    guest.py SCENARIOS OBSERVATIONS

Both are files of pickles: a list of `Scenario`, a list with one list of `Observation` each. What
the scenarios do is done in memory, by one processor.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.kernel import rig
from tests.kernel.ipvs import MODULES, Ipvs, State, connections
from tests.kernel.scenario import (
    Answered,
    Change,
    Counts,
    Entry,
    Listing,
    Look,
    Mtu,
    Observation,
    Operation,
    Scenario,
    Seen,
    Send,
    Side,
    Sight,
    Sysctl,
    Timeouts,
    Typed,
    VirtualService,
    Wait,
    label,
)

SYSCTLS = Path("/proc/sys/net/ipv4/vs")
TIMEOUTS = Timeouts(900, 120, 300)
MCL_CURRENT, MCL_FUTURE = 1, 2
IN_MEMORY = Path("/run/judge")
TICK_S = 0.004
"""The kernel's, which its work in the background waits for."""


class Judge:
    """Kernel IPVS, and how to ask it."""

    def __init__(self) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # for `rest`
        rig.build()
        self._far = rig.FarEnds()
        self._ipvs = Ipvs()
        self._sysctls: dict[str, str] = {}
        self._mtus: set[Side] = set()
        self._ipvsadm = in_memory("ipvsadm")

    def carry_out(self, scenario: Scenario) -> list[Observation]:
        """Carry out a scenario, and forget all of it."""
        observations = []
        for operation in scenario.operations:
            at_s = time.monotonic()
            observations.append(Observation(at_s, self._do(operation)))
        self._forget()
        return observations

    def _do(self, operation: Operation) -> Sight | tuple[Seen, ...] | Answered | str | None:
        match operation:
            case Send(side, data, mark):
                self._far.send(side, data, mark)
                return self._far.collect() or self._far.rest()
            case Look():
                return self._sight()
            case Listing(arguments):
                command = [*self._ipvsadm, *arguments.split()]
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout
            case Typed(words, text):
                done = subprocess.run(
                    [*self._ipvsadm, *words],
                    capture_output=True,
                    text=True,
                    input=text,
                    check=False,
                )
                return Answered(done.returncode, done.stdout, done.stderr)
            case Wait(seconds):
                time.sleep(seconds)
            case Sysctl(name, value):
                path = SYSCTLS / name
                self._sysctls.setdefault(name, path.read_text(encoding="ascii"))
                path.write_text(str(value), encoding="ascii")
            case Mtu(side, mtu):
                self._mtus.add(side)
                rig.set_mtu(side, mtu)
            case _:
                try:
                    self._change(operation)
                except OSError as error:
                    return os.strerror(error.errno or 0)
        return None

    def _change(self, operation: Operation) -> None:
        match operation:
            case Change(verb, service, server):
                self._ipvs.change(verb, service, server)
            case Timeouts(tcp_s, tcp_fin_s, udp_s):
                self._ipvs.set_timeouts(tcp_s, tcp_fin_s, udp_s)

    def _sight(self) -> Sight:
        entries = map(_entry, connections())
        counts = [
            Counts(
                label(_identity(service)),
                server["address"],
                server["port"],
                server["weight"],
                server["active"],
                server["inactive"],
                server["templates"],
            )
            for service in self._ipvs.services()
            for server in service["servers"]
        ]
        return Sight(tuple(sorted(entries)), tuple(counts))

    def _forget(self) -> None:
        """End all connections, and put back what was changed."""
        (SYSCTLS / "expire_nodest_conn").write_text("1", encoding="ascii")
        self._ipvs.flush()
        pause_s = TICK_S
        while connections():
            time.sleep(pause_s)
            pause_s *= 2  # where no server was left to remove, they end by their timeouts
        (SYSCTLS / "expire_nodest_conn").write_text("0", encoding="ascii")
        for name, value in self._sysctls.items():
            (SYSCTLS / name).write_text(value, encoding="ascii")
        self._sysctls.clear()
        self._change(TIMEOUTS)
        for side in self._mtus:
            rig.set_mtu(side, rig.MTU)
        self._mtus.clear()
        self._far.collect()


def in_memory(program: str) -> list[str | Path]:
    """Copy a program and its libraries into memory; return the words that start it there.

    Otherwise it would be read from the host, and virtual time would run meanwhile.
    """
    path = shutil.which(program)
    if path is None:
        return [program]
    IN_MEMORY.mkdir(exist_ok=True)
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in listed.split() if word.startswith("/")]
    copies = {Path(each).name: shutil.copy(each, IN_MEMORY) for each in [path, *libraries]}
    loader = next(copy for name, copy in copies.items() if name.startswith("ld-"))
    return [loader, "--library-path", IN_MEMORY, copies[program]]


def _entry(row: State) -> Entry:
    (client, vip, rip), (cport, vport, rport) = row["addresses"], row["ports"]
    expires_s = float(row["expires_s"])
    return Entry(row["protocol"], client, cport, vip, vport, rip, rport, row["state"], expires_s)


def _identity(service: State) -> VirtualService:
    keys = "protocol", "address", "port", "fwmark"
    return VirtualService(**{key: service[key] for key in keys}, version=service["family"])


def main() -> None:
    """Read scenarios, carry them out, write observations."""
    source, target = map(Path, sys.argv[1:])
    scenarios: list[Scenario] = pickle.loads(source.read_bytes())  # noqa: S301 - the host's own
    subprocess.run(["modprobe", "-a", "veth", *MODULES], check=True)
    judge = Judge()
    # What is kept are observations, which refer to nothing that refers to them.
    gc.disable()
    # A page that had to be read from the host later would let virtual time run.
    ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE)
    if scenarios:
        judge.carry_out(scenarios[0])
    sys.stdout.write(f"Linux {os.uname().release}, {os.uname().version}\n")
    observed = [judge.carry_out(scenario) for scenario in scenarios]
    target.write_bytes(pickle.dumps(observed))


if __name__ == "__main__":
    main()
