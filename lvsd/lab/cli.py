"""``lvsd lab``: a client, a director and real servers on this machine, to try things in."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from lvsd.arguments import Parser
from lvsd.errors import KernelError, LvsdError, PrivilegeError, UsageError
from lvsd.lab import hosts, introduction, modes, programs, real_server, registry, settings, shell
from lvsd.lab.lab import Lab
from lvsd.lab.plan import WAYS, check_count
from lvsd.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab.director import Daemon

MIXED = "mixed"
CHOICES = (*WAYS, MIXED)
"""What ``--mode`` takes: one way for all real servers, or each in turn another."""

SERVERS = 3
MAX_STAY_S = 7 * 86400
LOOK_S = 0.2
"""How often the daemon is looked after while the lab stands."""

DESCRIPTION = """\
Build a client, a director and real servers (nginx) out of network namespaces on this machine,
run lvsd in the director, and stay until Ctrl-C; then remove it all. With a COMMAND after --,
run that as the client, with the virtual addresses in $VIP and $VIP6, and exit as it does.
With --shell, open a tmux session instead: a window for each host, the packets at each hop, the
daemon's log. The lab is removed when you leave it.
"""


class LvsdEndedError(LvsdError):
    """The daemon of a lab has ended, and the lab ends with it."""

    exit_status = os.EX_OSERR

    def __init__(self, daemon: Daemon) -> None:
        status = daemon.process.returncode
        if status == os.EX_OK:
            how = "was stopped (status 0)"
            more = "with --shell a lab stays when its lvsd ends"
        else:
            how = f"ended with status {status}"
            more = f"it said last: {_last_event(daemon.log) or 'nothing'}"
        super().__init__(f"the lab's lvsd {how}; the lab is removed; {more}")


def _last_event(log: str) -> str:
    """Return the last line of a log; of one of JSON its event, and its error if it has one."""
    line = log.rstrip().rpartition("\n")[2]
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    return ": ".join(str(entry[key]) for key in ("event", "error") if entry.get(key))


def main(argv: list[str]) -> int:
    """Do what ``lvsd lab`` is asked for and return the exit status.

    Raise UsageError for a wrong command line, PrivilegeError without root, KernelError where
    the machine lacks something, LvsdEndedError where the daemon ends.
    """
    words, command = _divide(argv)
    options = parse(words)
    if options.remove:
        return _remove()
    if options.shell and command:
        raise UsageError("--shell has shells of its own; it does not go with a COMMAND")
    if options.shell and os.geteuid() == 0:
        shell.check()
    try:
        with standing(options) as (lab, daemon):
            if command:
                return _run(lab, command)
            try:
                if options.shell:
                    _sit_down(lab, daemon, options.seconds, as_json=options.json)
                    return os.EX_OK
                introduction.introduce(lab, daemon, as_json=options.json)
                _stay(daemon, options.seconds)
            except Terminated:
                raise
            except KeyboardInterrupt:
                return os.EX_OK
    except Terminated as end:
        return end.exit_status
    return os.EX_OK


def parse(words: list[str]) -> argparse.Namespace:
    """Return the options that stand before a COMMAND. Raise UsageError."""
    options = _parser().parse_args(words)
    settings.check_scheduler(options.scheduler)
    options.ways = _ways(options.mode, options.servers)
    if options.far_mtu is not None and not {"tun", "fullnat"} & set(options.ways):
        raise UsageError(f"--far-mtu: a lab of {options.mode} has no far network")
    return options


@contextlib.contextmanager
def standing(options: argparse.Namespace) -> Iterator[tuple[Lab, Daemon | None]]:
    """Build the lab that the options describe, its real servers serving, and its daemon running.

    Raise as `main` does.
    """
    with Lab(mtu=options.mtu, ways=options.ways, far_mtu=options.far_mtu) as lab:
        real_server.serve(lab)
        daemon = None
        if options.daemon:
            daemon = programs.lvsd(lab.director, configuration(lab, options.scheduler))
        yield lab, daemon


def configuration(lab: Lab, scheduler: str) -> str:
    """Return an lvsd.toml for a web site over IPv4 and IPv6 on all servers of the lab."""
    services = [modes.web(lab, family, scheduler=scheduler) for family in ("v4", "v6")]
    return settings.toml(services, lab.director.directory / "lvsd.sock")


def _ways(forward: str, servers: int | None) -> tuple[str, ...]:
    """Return the way of each real server. Raise UsageError for a number out of range."""
    cycle = WAYS if forward == MIXED else (forward,)
    number = max(SERVERS, len(cycle)) if servers is None else servers
    check_count(number)
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
    add(
        "--far-mtu",
        type=int,
        metavar="BYTES",
        help="of the links to servers of tun and fullnat (as --mtu)",
    )
    add("--scheduler", default="wlc", metavar="NAME", help="of the services (%(default)s)")
    add(
        "--mode",
        default="nat",
        choices=CHOICES,
        help="how servers are reached: nat (the default), dr, tun, fullnat, or mixed: each in "
        "another way",
    )
    add(
        "--shell",
        action="store_true",
        help="sit down in it: a tmux session with a window for each host",
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
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
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
    environment = os.environ | hosts.virtual_addresses(lab)
    with lab.client.entered():
        try:
            status = subprocess.run(command, env=environment, check=False).returncode
        except OSError as error:
            raise KernelError(f"run {command[0]}", error, "is it installed?") from error
    return status if status >= 0 else 128 - status


def _sit_down(lab: Lab, daemon: Daemon | None, seconds: float | None, *, as_json: bool) -> None:
    """Open the session at this terminal, or say how to attach to it; return when it has ended.

    A daemon that ends is left to whoever sits there: it is for trying things.
    """
    stay = MAX_STAY_S if seconds is None else seconds
    with shell.session(lab, daemon) as session:
        if shell.at_terminal() and not as_json:
            session.attach(stay)
            sys.stdout.write(f"removing {lab.name}\n")
            return
        if as_json:
            report = introduction.report(lab, daemon) | {"attach": session.attach_command}
            sys.stdout.write(json.dumps(report, indent=2) + "\n")
        else:
            sys.stdout.write(
                f"{lab.name} stands; there is no terminal here, so type at one:\n"
                f"  {session.attach_command}\n"
            )
        sys.stdout.flush()
        session.wait(stay)


def _stay(daemon: Daemon | None, seconds: float | None) -> None:
    """Return after ``seconds``. Raise LvsdEndedError when the daemon ends before."""
    deadline = time.monotonic() + (MAX_STAY_S if seconds is None else seconds)
    while (left := deadline - time.monotonic()) > 0:
        if daemon is not None and daemon.process.poll() is not None:
            raise LvsdEndedError(daemon)
        time.sleep(min(LOOK_S, left))
