"""``lvsd lab``: a client, a director and real servers on this machine, to try things in."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import schedulers
from lvsd.arguments import Parser
from lvsd.errors import KernelError, PrivilegeError, UsageError
from lvsd.lab import modes, programs, real_server, registry, settings, show
from lvsd.lab.lab import Lab
from lvsd.lab.plan import MAX_SERVERS, WAYS
from lvsd.lab.signals import Terminated

if TYPE_CHECKING:
    from rich.console import Console

    from lvsd.lab.director import Daemon

MIXED = "mixed"
FORWARDS = (*WAYS, MIXED)
"""What ``--forward`` takes: one way for all real servers, or each in turn another."""

SERVERS = 3
MAX_STAY_S = 7 * 86400
LOOK_S = 0.2
"""How often the daemon is looked after while the lab stands."""

DESCRIPTION = """\
Build a client, a director and real servers (nginx) out of network namespaces on this machine,
run lvsd in the director, and stay until Ctrl-C; then remove it all. With a COMMAND after --,
run that as the client, with the virtual addresses in $VIP and $VIP6, and exit as it does.
"""


def main(argv: list[str]) -> int:
    """Do what ``lvsd lab`` is asked for and return the exit status.

    Raise UsageError for a wrong command line, PrivilegeError without root, KernelError where
    the machine lacks something or the daemon ends.
    """
    words, command = _divide(argv)
    options = _parser().parse_args(words)
    if options.remove:
        return _remove()
    if options.scheduler not in schedulers.names():
        known = ", ".join(schedulers.names())
        raise UsageError(f"no scheduler {options.scheduler!r}; there are: {known}")
    try:
        with Lab(mtu=options.mtu, ways=_ways(options.forward, options.servers)) as lab:
            real_server.serve(lab)
            daemon = None
            if options.daemon:
                config = configuration(lab, options.scheduler)
                daemon = programs.lvsd(lab.director, config)
            if command:
                return _run(lab, command)
            try:
                _introduce(lab, daemon, as_json=options.json)
                _stay(daemon, options.seconds)
            except Terminated:
                raise
            except KeyboardInterrupt:
                return os.EX_OK
    except Terminated as end:
        return end.exit_status
    return os.EX_OK


def configuration(lab: Lab, scheduler: str) -> str:
    """Return an lvsd.toml for a web site over IPv4 and IPv6 on all servers of the lab."""
    services = [modes.web(lab, family, scheduler=scheduler) for family in ("v4", "v6")]
    return settings.toml(services, lab.director.directory / "lvsd.sock")


def _ways(forward: str, servers: int | None) -> tuple[str, ...]:
    """Return the way of each real server. Raise UsageError for a number out of range."""
    cycle = WAYS if forward == MIXED else (forward,)
    number = max(SERVERS, len(cycle)) if servers is None else servers
    if not 1 <= number <= MAX_SERVERS:
        raise UsageError(f"a lab has 1 to {MAX_SERVERS} real servers, not {number}")
    return tuple(cycle[index % len(cycle)] for index in range(number))


def _divide(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before ``--`` and what stands after it."""
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    if not argv[place + 1 :]:
        raise UsageError("a command belongs after --; see 'lvsd lab --help'")
    return argv[:place], argv[place + 1 :]


def _parser() -> Parser:
    parser = Parser(
        prog="lvsd lab",
        usage="lvsd lab [options] [-- COMMAND ...]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--servers",
        type=int,
        metavar="N",
        help=f"real servers (default {SERVERS}; with mixed {len(WAYS)})",
    )
    add("--mtu", type=int, default=1500, metavar="BYTES", help="of every link (%(default)s)")
    add("--scheduler", default="wlc", metavar="NAME", help="of the services (%(default)s)")
    add(
        "--forward",
        default="nat",
        choices=FORWARDS,
        help="how servers are reached: nat (the default), dr, tun, fullnat, or mixed: each in "
        "another way",
    )
    add(
        "--daemon",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run lvsd in the director (the default), or not",
    )
    add(
        "--for",
        dest="seconds",
        type=_seconds,
        metavar="SECONDS",
        help="stay so long instead of until Ctrl-C",
    )
    add("--json", action="store_true", help="print the map of the lab as JSON")
    add("--remove", action="store_true", help="remove what killed labs left behind, build nothing")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_STAY_S:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to {MAX_STAY_S} seconds")
    return seconds


def _remove() -> int:
    if os.geteuid() != 0:
        raise PrivilegeError("remove labs", "network namespaces need root", "run it as root")
    for name in registry.remove_leftovers():
        sys.stdout.write(f"removed {name}\n")
    return os.EX_OK


def _run(lab: Lab, command: list[str]) -> int:
    """Run a command as the client, at this terminal; return its exit status as a shell does."""
    environment = os.environ | {"VIP": lab.vip.v4, "VIP6": lab.vip.v6}
    with lab.client.entered():
        try:
            status = subprocess.run(command, env=environment, check=False).returncode
        except OSError as error:
            raise KernelError(f"run {command[0]}", error, "is it installed?") from error
    return status if status >= 0 else 128 - status


def _commands(lab: Lab, daemon: Daemon | None) -> dict[str, str]:
    """Return what there is to do in the lab: a sentence and a command each."""
    client, director, server = lab.client.name, lab.director.name, lab.servers[0].name
    enter = "ip netns exec"
    if daemon is None:
        return {
            "Be in the director": f"{enter} {director} bash",
            "Ask a real server itself": f"{enter} {server} curl -s http://127.0.0.1/",
        }
    ways = dict.fromkeys(space.way for space in lab.servers)
    watches = [watch for way in ways for watch in modes.MODES[way].watches]
    return {
        "Ask the virtual service": f"{enter} {client} curl -s http://{lab.vip.v4}/",
        "Ask it over IPv6": f"{enter} {client} curl -s 'http://[{lab.vip.v6}]/'",
        "Watch a packet arrive": f"{enter} {director} tcpdump -ni front port {modes.VIP_PORT}",
        **{watch.what: f"{enter} {lab.host(watch.host).name} {watch.command}" for watch in watches},
        "List the service as ipvsadm does": f"lvsadm --control {daemon.control} -L -n",
        "See who was asked": f"tail -f {lab.servers[0].directory}/access.log",
        "Read the configuration": f"cat {daemon.config_file}",
        "Read the daemon's log": f"cat {daemon.log_file}",
    }


def _introduce(lab: Lab, daemon: Daemon | None, *, as_json: bool) -> None:
    """Print the lab's map, so that whoever reads our output knows at once that it stands."""
    commands = _commands(lab, daemon)
    if as_json:
        report: dict[str, Any] = lab.map()
        if daemon is not None:
            report |= {"config": str(daemon.config_file), "control": str(daemon.control)}
        sys.stdout.write(json.dumps(report | {"commands": commands}, indent=2) + "\n")
    else:
        out: Console = show.console()
        out.print(f"[bold]{lab.name}[/]: every host is a network namespace, {lab.name}-HOST.")
        out.print(show.addresses(lab))
        for text, line in commands.items():
            out.print(f"{text}:")
            show.command(out, line)
    sys.stdout.flush()


def _stay(daemon: Daemon | None, seconds: float | None) -> None:
    """Return after ``seconds``. Raise KernelError when the daemon ends before."""
    deadline = time.monotonic() + (MAX_STAY_S if seconds is None else seconds)
    while (left := deadline - time.monotonic()) > 0:
        if daemon is not None and daemon.process.poll() is not None:
            raise KernelError(
                "run lvsd in the lab",
                f"it ended with status {daemon.process.returncode}",
                f"it said: {daemon.log[-2000:]}",
            )
        time.sleep(min(LOOK_S, left))
