"""What a restart, or a crash, does to connections: downloads, idle ones, and new ones all the time.

    python -m bench.restart [--downloads 300] [--idle 300] [--rate 300] [--ways nat fullnat]

For each way, each end of lvsd and for a VIP that is an address of the director or not, with IPv4
and IPv6 in turn: what broke, RSTs that clients got, how long lvsd was away (until the first new
connection that began after the end was answered), and the slowest new connection. Client, director
and servers share the machine: at full numbers the load itself takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from lvsd.lab import Lab, program, programs, settings
from lvsd.lab.load import Load
from lvsd.lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.lab.load import Outcome
    from lvsd.lab.programs import Daemon

PORT, RPORT = 80, 8080
WAYS: Final = ("nat", "fullnat")
RESETS: Final = "inbound and (tcp[13] & 4 != 0 or (ip6[6] = 6 and ip6[53] & 4 != 0))"
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


ENDS: Final[dict[str, Callable[[Lab, Daemon, str], Daemon]]] = {
    "kill -9 of the engine": kill_engine,
    "kill -9 of all, start": kill_all,
    "stop, start": restart,
}


def measured(lab: Lab, way: str, end: str, options: argparse.Namespace, *, local: bool) -> str:
    """Return a line about one end of lvsd."""
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
    )
    file = str(lab.client.directory / "resets.pcap")
    argv = ["tcpdump", "--immediate-mode", "-Uni", "eth0", "-w", file, RESETS]
    tcpdump = program.start(lab.client, argv, "tcpdump")
    until(lambda: "listening on" in tcpdump.log)
    load.start()
    time.sleep(options.before)
    ended_at = time.monotonic()
    daemon = ENDS[end](lab, daemon, text)
    time.sleep(options.after)
    outcome = load.stop()
    tcpdump.stop()
    load.close()
    resets = lab.client.run(["tcpdump", "-nr", file]).stdout.splitlines()
    daemon.stop()
    return _line(way, end, outcome, len(resets), ended_at, local=local)


def _line(
    way: str, end: str, outcome: Outcome, resets: int, ended_at: float, *, local: bool
) -> str:
    later = [began + wait for began, wait in outcome.waits_s if began + wait > ended_at]
    answered = sorted(each - ended_at for each in later)
    gaps = [after - before for before, after in zip([0.0, *answered], answered, strict=False)]
    words = [
        f"{way:8}{'VIP of the host' if local else 'VIP of nobody':17}{end:23}",
        f"broken {len(outcome.broken)} of {outcome.downloads} downloads, {outcome.idle} idle, ",
        f"{len(outcome.waits_s)} new; RSTs {resets}; ",
        f"longest without an answer {max(gaps, default=0.0):.2f} s, ",
        f"slowest new connection {outcome.longest_s:.2f} s",
    ]
    return "\n    ".join(["".join(words), *outcome.broken[:5]])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=int, default=300)
    parser.add_argument("--idle", type=int, default=300)
    parser.add_argument("--rate", type=float, default=300.0, help="new connections a second")
    parser.add_argument("--before", type=float, default=2.0, help="seconds of load before")
    parser.add_argument("--after", type=float, default=2.0, help="and after")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    with Lab(name="lvsd-bench", ways=tuple(options.ways)) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[RPORT])
        for way in options.ways:
            for local in (True, False):
                for end in ENDS:
                    print(measured(lab, way, end, options, local=local), flush=True)


if __name__ == "__main__":
    main()
