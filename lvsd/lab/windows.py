"""The windows of ``lvsd lab --shell``: a shell per host, the packets at each hop, the log."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lvsd.lab import hosts, modes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lvsd.lab.director import Daemon
    from lvsd.lab.lab import Lab
    from lvsd.lab.namespace import Namespace

WATCHED_SERVERS: Final = 8
"""So many real servers' packets are shown; they share one pane."""

WATCH_S: Final = 2

GREETING: Final = """\
The web site: curl -s http://$VIP/
Over IPv6:    curl -s "http://[$VIP6]/"
Its packets:  window 2; {key} o: next hop, {key} z: zoom
Ctrl-C ended something? {key} r: start it again
Tasks:        docs/lab.md"""

AGAIN: Final = "lvsd -c lvsd.toml 2>>lvsd.log &"
"""How the daemon is started anew, in the director's window."""

ONE_LINE: Final = (
    r"/verbose output suppressed/d",
    r"s/^(tcpdump: )?(listening on [^,]+),.*/\2/",
    r"s/, ethertype (IPv[46]) [^:]*: /, \1: /",
    r"s/(Flags \[[^]]*\]), .*(, length [0-9]+)/\1\2/",
)
"""What leaves of tcpdump's lines what fits: MACs, ends, flags, length, and the request's line."""

LOG_LINE: Final = (
    r's/^\{(.*), "event": "(.*)", "level": "([a-z]+)", "timestamp": "[^T]*T([0-9:]+).*$'
    r"/\4 \3: \2; \1/;"
    r's/"([^" ]*)"/\1/g'
)
"""What makes of the log's JSON a line that begins with time, level and event, without quotes."""


@dataclass(frozen=True, slots=True)
class Pane:
    """A part of a window, and what runs there."""

    title: str
    argv: list[str]


@dataclass(frozen=True, slots=True)
class Window:
    """A window; more than one pane stand above each other, each under its title.

    ``directory`` is where they start. ``again`` is the shell that a new window asked for there
    has, and ``host`` where that is. ``layout`` is one of tmux's.
    """

    name: str
    panes: list[Pane]
    directory: Path
    again: list[str]
    host: str
    layout: str = "even-vertical"


def windows(lab: Lab, daemon: Daemon | None, key: str) -> list[Window]:
    """Return all windows: client, director, wire, log, the others. Write the shells' files.

    ``key`` is what comes before tmux's commands.
    """
    greetings = {"client": GREETING.format(key=key)}
    shells = [
        _shell(
            space,
            hosts.environment(lab, space, daemon)["PATH"],
            greetings.get(space.host, ""),
        )
        for space in lab.hosts
    ]
    client, director, *others = shells
    log = [] if daemon is None else [_log(director, lab, daemon)]
    return [client, director, replace(client, name="wire", panes=_wire(lab)), *log, *others]


def packets(ways: Iterable[str]) -> str:
    """Return the filter for the service's packets at every hop, as tcpdump takes it.

    ``ways`` are those of the real servers.
    """
    used = [modes.MODES[way] for way in ways]
    ports = dict.fromkeys([modes.VIP_PORT, *(mode.port for mode in used)])
    terms = [f"port {port}" for port in ports]
    if any(mode.name == "tun" for mode in used):
        terms += ["ip proto 4", "ip6 proto 41"]
    return " or ".join(terms)


def _shell(space: Namespace, path: str, greeting: str) -> Window:
    shell = hosts.shell(space, path, greeting)
    return Window(space.host, [Pane(space.host, shell)], space.directory, shell, space.host)


def _wire(lab: Lab) -> list[Pane]:
    """Return a pane per hop: at the client, the director and the router, and the real servers'."""
    places = [("client", "eth0"), ("director", "front"), ("director", "back")]
    if any(modes.MODES[space.way].bypasses for space in lab.servers):
        places.append(("router", "front"))
    wanted = shlex.quote(packets(dict.fromkeys(space.way for space in lab.servers)))
    panes = [
        Pane(
            f"{host} {interface}",
            hosts.inside(lab.host(host), "sh", "-c", _tcpdump(interface, wanted)),
        )
        for host, interface in places
    ]
    return [*panes, _servers(lab, wanted)]


def _servers(lab: Lab, wanted: str) -> Pane:
    """All real servers in one pane, each line with the name of the one that saw the packet."""
    watched = lab.servers[:WATCHED_SERVERS]
    lines = [
        shlex.join(hosts.inside(space, "sh", "-c", _tcpdump("eth0", wanted, f"s/^/{space.host} /")))
        + " &"
        for space in watched
    ]
    script = "\n".join([*lines, "wait"])
    # It ends with the lab for the namespace that it is in, and not only by its terminal.
    argv = hosts.inside(watched[0], "sh", "-c", script)
    return Pane("real servers eth0", argv)


def _tcpdump(interface: str, wanted: str, *edits: str) -> str:
    """Return the shell's line that shows packets, each in one line, edited further by sed."""
    script = shlex.quote("\n".join([*ONE_LINE, *edits]))
    return f"tcpdump --immediate-mode -lneti {interface} {wanted} 2>&1 | sed -uE {script}"


def _log(director: Window, lab: Lab, daemon: Daemon) -> Window:
    """Return the director's tables, and below them, in less room, what the daemon says."""
    space = lab.director
    tables = "lvsadm -Ln && echo && lvsadm -Lnc"
    without = f"echo {shlex.quote(f'In the director: {AGAIN}')}"
    watch = f"exec watch -t -n {WATCH_S} {shlex.quote(f'{tables} || {without}')}"
    log_file = shlex.quote(str(daemon.log_file))
    follow = f"tail -n 50 -F {log_file} | sed -uE {shlex.quote(LOG_LINE)}"
    panes = [
        Pane("services and connections", hosts.inside(space, "sh", "-c", watch)),
        Pane("lvsd's log", hosts.inside(space, "sh", "-c", follow)),
    ]
    return replace(director, name="log", panes=panes, layout="main-horizontal")
