"""What becomes of connections when lvsd changes: downloads, idle ones, new ones all the time.

    python -m bench.restart [--downloads 300] [--idle 300] [--rate 300] [--pace 8192]
                            [--ways nat fullnat] [--turns 1]
                            [--ends kill-engine kill-all restart upgrade reload]

For each way, each end of lvsd and for a VIP that is an address of the director or not, with IPv4
and IPv6 in turn: what broke, RSTs that clients got, how long no new connection was answered, and
the slowest one. Each end comes after as long a time of the same load in which nothing happens, in
turns, and both are told: client, director and servers share the machine, so that what breaks, or
takes a retransmission, without any end as well is the load's. What the queue lost, and how much of
a processor the engine took, tell whether lvsd could carry it. A download takes ``--pace`` bytes a
second: 300 of 8 KB each are some 3,000 packets a second, both ways.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.lab import Lab, program, programs, settings
from lvsd.lab.load import Load
from lvsd.lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.lab.load import Outcome
    from lvsd.lab.programs import Daemon

PORT, RPORT = 80, 8080
WAYS: Final = ("nat", "fullnat")
RESETS: Final = "inbound and (tcp[13] & 4 != 0 or (ip6[6] = 6 and ip6[53] & 4 != 0))"
SLOW_S: Final = 0.9
"""What takes so long had to send its SYN again, which Linux does after 1 s."""

GOES_ON: Final = '"event": "connections of the lvsd before go on"'


def configuration(lab: Lab, way: str, *, local: bool) -> str:
    """Return an lvsd.toml with the service of both families."""
    lines = ["[daemon]", 'log_format = "json"', "hold_s = 30"]
    server = next(each for each in lab.servers if each.way == way)
    for family in ("v4", "v6"):
        vip, rip = getattr(lab.vip, family), getattr(server.addresses, family)
        lines += ["[[service]]", f'name = "web-{family}"', f'forward = "{way}"', 'protocol = "tcp"']
        lines.append(f'address = "{settings.at(vip, PORT)}"')
        if local:
            lines.append('interface = "front"')
        if way == "fullnat":
            own = [getattr(pair, family) for pair in lab.local_addresses]
            lines.append(f"local_addresses = {json.dumps(own)}")
        lines += ["[[service.server]]", f'address = "{settings.at(rip, RPORT)}"']
    return "\n".join([*lines, ""])


def kill_engine(_: Lab, daemon: Daemon, __: str) -> Daemon:
    """Kill the engine; return when another one goes on."""
    os.kill(daemon.engine, signal.SIGKILL)
    until(lambda: GOES_ON in daemon.log)
    return daemon


def kill_all(lab: Lab, daemon: Daemon, text: str) -> Daemon:
    """Kill the supervisor, and so everything; start lvsd."""
    daemon.process.kill()
    daemon.process.wait()
    return programs.lvsd(lab.director, text)


def restart(lab: Lab, daemon: Daemon, text: str) -> Daemon:
    """Stop lvsd, and start it."""
    daemon.stop()
    return programs.lvsd(lab.director, text)


def upgrade(lab: Lab, daemon: Daemon, _: str) -> Daemon:
    """Have lvsd go on as a new process image of the same code, and say how long that paused."""
    argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
    print("   ", lab.director.run(argv).stdout.strip(), flush=True)
    return daemon


def reload(lab: Lab, daemon: Daemon, text: str) -> Daemon:
    """Have lvsd read another file: the scheduler and a timeout are others, a service is new."""
    service = '[[service]]\nname = "more"\naddress = "203.0.113.1:81"\nprotocol = "tcp"\n'
    changed = text.replace('protocol = "tcp"', 'protocol = "tcp"\nscheduler = "rr"')
    written = daemon.config_file.read_text(encoding="utf-8").split("[[service]]", 1)[0]
    written = written.split("[timeouts]", 1)[0]  # of the turn before
    tables = changed.split("[[service]]", 1)[1]
    more = f"[timeouts]\nudp_s = 60\n[[service]]{tables}{service}"
    daemon.config_file.write_text(f"{written}{more}", encoding="utf-8")
    argv = [sys.executable, "-m", "lvsd", "reload", "--control", str(daemon.control)]
    lab.director.run(argv)
    return daemon


ENDS: Final[dict[str, Callable[[Lab, Daemon, str], Daemon]]] = {
    "kill-engine": kill_engine,
    "kill-all": kill_all,
    "restart": restart,
    "upgrade": upgrade,
    "reload": reload,
}


def measured(lab: Lab, way: str, end: str, options: argparse.Namespace, *, local: bool) -> str:
    """Return a few lines about one end of lvsd."""
    for state in lab.director.directory.glob("state-*"):
        state.unlink()
    text = configuration(lab, way, local=local)
    daemon = programs.lvsd(lab.director, text)
    load = Load(
        lab.client,
        (lab.vip.v4, lab.vip.v6),
        programs.payload(lab.client),
        downloads=options.downloads,
        idle=options.idle,
        rate=options.rate,
        pace=options.pace,
    )
    file = str(lab.client.directory / "resets.pcap")
    argv = ["tcpdump", "--immediate-mode", "-Uni", "eth0", "-w", file, RESETS]
    tcpdump = program.start(lab.client, argv, "tcpdump")
    until(lambda: "listening on" in tcpdump.log)
    load.start()
    time.sleep(options.warm_up)
    quiet, eventful = Phase("without it"), Phase("with it")
    for _ in range(options.turns):
        with quiet.window(lab, daemon):
            time.sleep(options.seconds)
        with eventful.window(lab, None):  # another engine may be there after it
            began = time.monotonic()
            daemon = ENDS[end](lab, daemon, text)
            time.sleep(max(0.0, began + options.seconds - time.monotonic()))
    outcome = load.stop()
    tcpdump.stop()
    load.close()
    resets = lab.client.run(["tcpdump", "-nr", file]).stdout.splitlines()
    daemon.stop()
    words = [
        f"{way:8}{'VIP of the host' if local else 'VIP of nobody':17}{end:12}",
        f"broken {len(outcome.broken)} of {options.downloads} downloads, {options.idle} idle, ",
        f"{len(outcome.waits_s)} new; RSTs {len(resets)}",
    ]
    phases = [each.told(outcome) for each in (quiet, eventful)]
    return "\n    ".join(["".join(words), *phases, *outcome.broken[:5]])


class Phase:
    """Windows of time in which something happens, or nothing, and what was seen in them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._windows: list[tuple[float, float]] = []
        self._lost = 0
        self._worked_s = self._watched_s = 0.0

    @contextmanager
    def window(self, lab: Lab, daemon: Daemon | None) -> Iterator[None]:
        """Watch what is done inside; the engine as well, if it is there all the time."""
        began, lost = time.monotonic(), _lost(lab)
        worked = _worked_s(daemon.engine) if daemon is not None else 0.0
        yield
        ended = time.monotonic()
        self._windows.append((began, ended))
        now = _lost(lab)
        self._lost += now - lost if now >= lost else now  # of a queue that is bound anew, all
        if daemon is not None:
            self._worked_s += _worked_s(daemon.engine) - worked
            self._watched_s += ended - began

    def told(self, outcome: Outcome) -> str:
        """Return a line."""
        waits = [each for each in outcome.waits_s if self._has(each[0])]
        slow = sum(wait >= SLOW_S for _, wait in waits)
        words = [
            f"{self._name:11} broken {sum(map(self._has, outcome.broken_at))}, ",
            f"slow {slow} of {len(waits)} new, slowest {max((w for _, w in waits), default=0):.2f}",
            f" s, longest without an answer {self._gap_s(outcome):.2f} s, ",
            f"queue lost {self._lost}",
        ]
        if self._watched_s:
            words.append(f", engine {100 * self._worked_s / self._watched_s:.0f} %")
        return "".join(words)

    def _has(self, when: float) -> bool:
        return any(began <= when < ended for began, ended in self._windows)

    def _gap_s(self, outcome: Outcome) -> float:
        """Return the longest time in a window in which no new connection had its answer."""
        longest = 0.0
        for began, ended in self._windows:
            times = sorted(at + wait for at, wait in outcome.waits_s if began <= at + wait < ended)
            gaps = pairwise([began, *times, ended])
            longest = max(longest, *(after - before for before, after in gaps))
        return longest


def _lost(lab: Lab) -> int:
    """Return how many packets the director's queue has lost, since it is bound; 0 if it is not."""
    queues = lab.director.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout
    return sum(int(number) for line in queues.splitlines() for number in line.split()[5:7])


def _worked_s(process: int) -> float:
    """Return the seconds of processor time that a process has had."""
    words = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=int, default=300)
    parser.add_argument("--idle", type=int, default=300)
    parser.add_argument("--rate", type=float, default=300.0, help="new connections a second")
    parser.add_argument("--pace", type=int, default=8192, help="bytes a second of a download")
    parser.add_argument("--warm-up", type=float, default=4.0, help="seconds of load before all")
    parser.add_argument("--turns", type=int, default=1, help="times without, and with it")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each of them is")
    parser.add_argument("--ends", nargs="+", choices=ENDS, default=list(ENDS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    with Lab(name="lvsd-bench", ways=tuple(options.ways)) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[RPORT])
        for way in options.ways:
            for local in (True, False):
                for end in options.ends:
                    print(measured(lab, way, end, options, local=local), flush=True)


if __name__ == "__main__":
    main()
