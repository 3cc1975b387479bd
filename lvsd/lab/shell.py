"""``lvsd lab --shell``: a lab to sit down in, as long as its tmux session lasts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from lvsd.lab import capture, hosts, tmux
from lvsd.lab.program import find
from lvsd.lab.windows import windows

if TYPE_CHECKING:
    import contextlib

    from lvsd.lab.director import Daemon
    from lvsd.lab.lab import Lab

PROGRAMS: Final = ("tmux", "bash", "tcpdump", "watch", "ethtool")


def at_terminal() -> bool:
    """Whether there is a terminal to attach the session to."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def check() -> None:
    """Raise KernelError where a program is missing, UsageError where the terminal is unfit."""
    for program in PROGRAMS:
        find(program)
    if at_terminal():
        tmux.check_terminal()


def session(lab: Lab, daemon: Daemon | None) -> contextlib.AbstractContextManager[tmux.Session]:
    """Start the lab's session; it ends with the block."""
    for space in (lab.client, *lab.servers):
        capture.finish_checksums(space)
    ways = {space.way for space in lab.servers}
    return tmux.session(
        lab.client,
        f"{lab.name} ({ways.pop() if len(ways) == 1 else 'mixed'})",
        windows(lab, daemon, tmux.prefix_key()),
        hosts.environment(lab, lab.client, daemon),
    )
