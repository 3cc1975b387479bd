"""Record what the real ipvsadm prints of kernel IPVS; `make record` does.

Every scenario leaves two files here: NAME.txt, the commands and their output, and NAME.json, the
kernel's state at that moment as generic netlink and /proc tell it, which is what test_golden.py
hands to lvsadm.

The kernel is Debian's, in an emulated machine (`tests.kernel.judge`). Inside it this file is run
again, builds a client, a director and real servers, and lets them talk. The machine's time is
virtual, and the talk begins when the kernel has just worked out its rates: so timers and rates are
the same whenever this is run.

Services and connections are written down sorted: the kernel's own order comes from a secret and
from where its memory lies.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.golden.lvsadm import traffic
from tests.golden.lvsadm.scenarios import NAMES, PORTS, SCENARIOS
from tests.kernel import judge
from tests.kernel.ipvs import MODULES, Ipvs, connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.golden.lvsadm.scenarios import Scenario

State: TypeAlias = dict[str, Any]

HERE = Path(__file__).resolve().parent
RESULTS = Path("/run/stock-kernel")
EXPIRE = Path("/proc/sys/net/ipv4/vs/expire_nodest_conn")

PROBE = "192.0.2.12", 7
TALK_S, LISTED_S = 0.2, 2.3
"""After the rates were worked out: how long clients talk, and when all is listed. The next time is
2 s later. Timers are shown in whole seconds, and none gets to one before the listings are done."""
KEPT_S = 300.0
"""By then the kernel has forgotten the counters of a real server that was removed."""
TICK_S = 0.004


def host() -> int:
    """Let the guest record, and take over what it wrote; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        done = judge.run([sys.executable, Path(__file__).resolve(), "guest"], results)
        sys.stdout.write(done.stdout + done.stderr)
        if done.returncode == 0:
            for path in [*results.glob("*.txt"), *results.glob("*.json")]:
                shutil.copyfile(path, HERE / path.name)
    return done.returncode


def guest() -> int:
    """Record every scenario."""
    subprocess.run(["modprobe", "-a", "veth", "ipip", "sctp", *MODULES], check=True)
    own_names()
    traffic.build()
    servers = traffic.Program("rs", "serve")
    kernel = f"Linux {os.uname().release}, {os.uname().version}"
    origin = f"{kernel}; {ipvsadm('-v').stdout.strip()}; `make record`"
    bad = [scenario.name for scenario in SCENARIOS if not record(scenario, origin)]
    servers.end()
    if bad:
        sys.stdout.write(f"no good, so nothing is recorded: {', '.join(bad)}\n")
    return bool(bad)


def own_names() -> None:
    """Give this machine the names of the scenarios, and no others."""
    hosts = "".join(f"{address} {name}\n" for address, name in NAMES.items())
    services = "".join(f"{name} {port}\n" for port, name in PORTS.items())
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}", "ascii")
    Path("/etc/services").write_text(services, "ascii")
    Path("/etc/nsswitch.conf").write_text("hosts: files\nservices: files\n", "ascii")


def record(scenario: Scenario, origin: str) -> bool:
    """Bring about a state; write down ipvsadm's listings of it and the state itself.

    Return whether all was said in time, and nothing changed while it was listed.
    """
    commands = "".join(map(carried_out, scenario.setup.strip().splitlines()))
    with talking(scenario) as in_time:
        commands += "".join(map(carried_out, scenario.then.splitlines()))
        seen = state()
        listings = scenario.listings.strip().splitlines()
        body = "".join(transcript(line, seen) for line in listings if line)
        is_good = in_time and state() == seen
    forget()
    for kind, key in KEYS.items():
        seen[kind].sort(key=key)
    whole = {"origin": origin, **seen, "names": NAMES, "ports": PORTS}
    files = {"txt": f"# {origin}\n{commands}{body}", "json": json.dumps(whole, indent=1) + "\n"}
    for suffix, content in files.items():
        (RESULTS / f"{scenario.name}.{suffix}").write_text(content, "utf-8")
    counted = f"{len(seen['services'])} services, {len(seen['connections'])} connections"
    sys.stdout.write(f"{scenario.name}: {counted}\n")
    return is_good


@contextlib.contextmanager
def talking(scenario: Scenario) -> Iterator[bool]:
    """Let clients say what they have to; it is in the counters, and held open until the end.

    Yield whether that took no longer than it may.
    """
    clients = [traffic.client(namespace, talk) for namespace, talk in scenario.talks]
    began_s = rates_worked_out() if clients else time.monotonic()
    with busy():
        for client in clients:
            client.go()
    took_s = time.monotonic() - began_s
    if clients:
        time.sleep(max(0.0, LISTED_S - took_s))
    with busy():
        yield took_s < TALK_S
    for client in clients:
        client.end()


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Leave the processor no idle moment: in one, such as until a file is read, time leaps."""
    pid = os.fork()
    if not pid:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while True:
            pass
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def rates_worked_out() -> float:
    """Wait until the kernel sums up its counters, as it does every 2 s; return when it did."""
    service = "-u {}:{}".format(*PROBE)
    carried_out(f"-A {service} -o")
    carried_out(f"-a {service} -r 10.0.0.11 -m")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", PROBE)
    ipvs = Ipvs()
    while not any(each["port"] == PROBE[1] and each["stats"][0] for each in ipvs.services()):
        time.sleep(TICK_S)
    worked_out_s = time.monotonic()
    with busy():
        carried_out(f"-D {service}")
    return worked_out_s


def forget() -> None:
    """End all connections, remove all services, and put back the timeouts."""
    EXPIRE.write_text("1", "ascii")
    carried_out("-C")
    time.sleep(KEPT_S)
    EXPIRE.write_text("0", "ascii")
    carried_out("--set 900 120 300")


# --- what is written down -------------------------------------------------------------------


def state() -> State:
    """Return services, connections and timeouts, in the kernel's own order."""
    # There is no other way to ask for the timeouts.
    timeouts = [int(word) for word in ipvsadm("-L --timeout").stdout.split()[-3:]]
    return {"services": Ipvs().services(), "connections": connections(), "timeouts": timeouts}


KEYS: dict[str, Callable[[State], Any]] = {
    "services": lambda each: (each["fwmark"], each["port"], each["address"], each["family"]),
    "connections": lambda each: (each["ports"], each["addresses"]),
}
"""How services and connections are sorted; not as ipvsadm sorts, which other listings show."""


def transcript(line: str, seen: State) -> str:
    """Run ipvsadm; return its command, output, errors (!) and status (=)."""
    done = ipvsadm(line)
    text = f"$ ipvsadm {line}\n{in_order(line, done.stdout, seen)}"
    text += "".join(f"! {error}\n" for error in done.stderr.splitlines())
    return text + (f"= {done.returncode}\n" if done.returncode else "")


def in_order(line: str, output: str, seen: State) -> str:
    """Return a listing, sorted if it is in the kernel's own order."""
    if output.startswith("IPVS connection entries"):
        kind, heading, begin = "connections", 2, "(?=.)"
    elif "--nosort" in line:
        kind, heading, begin = "services", 3, "(?=[A-Z])"
    else:
        return output
    rows = output.splitlines(keepends=True)
    entries = re.split(f"^{begin}", "".join(rows[heading:]), flags=re.MULTILINE)[1:]
    if len(entries) != len(seen[kind]):
        return output  # it did not hold still, and is not kept
    key = KEYS[kind]
    found = sorted(zip(seen[kind], entries, strict=True), key=lambda pair: key(pair[0]))
    return "".join(rows[:heading]) + "".join(entry for _, entry in found)


def carried_out(line: str) -> str:
    """Let ipvsadm change something; return the line that says so."""
    done = ipvsadm(line)
    if done.returncode:
        raise SystemExit(f"ipvsadm {line}: {done.stderr}")
    return f"# ipvsadm {line}\n"


def ipvsadm(line: str) -> subprocess.CompletedProcess[str]:
    """Run ipvsadm."""
    return subprocess.run(["ipvsadm", *line.split()], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(guest() if sys.argv[1:] == ["guest"] else host())
