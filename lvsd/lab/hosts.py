"""What a person at a host of the lab has: a prompt, the virtual addresses, lvsd's commands."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.control.client import PATH_VARIABLE
from lvsd.lab import real_server
from lvsd.lab.program import find

if TYPE_CHECKING:
    from lvsd.lab.director import Daemon
    from lvsd.lab.lab import Lab
    from lvsd.lab.namespace import Namespace

SYSTEM_PATHS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
OF_ANOTHER_TMUX: Final = frozenset({"TMUX", "TMUX_PANE"})

_REAL_SERVER = """\
if [ "${{1-}}" = realserver ]; then
    case "${{2-}}" in
        up | down | status) verb=$2; shift 2; set -- realserver "$verb" --state {state} "$@" ;;
    esac
fi
"""
"""As each host has its own files here, so it has its own record of what was changed."""


def environment(lab: Lab, space: Namespace, daemon: Daemon | None) -> dict[str, str]:
    """Return the variables for a program in a host: $VIP and $VIP6, lvsd and lvsadm in $PATH.

    Both commands find the lab's daemon without an option. Puts the commands into the host's
    directory.
    """
    commands = space.directory / "bin"
    commands.mkdir(exist_ok=True)
    state = shlex.quote(str(space.directory / real_server.NAME))
    _write(commands / "lvsd", _REAL_SERVER.format(state=state), "lvsd")
    _write(commands / "lvsadm", "", "lvsd.control.lvsadm")
    inherited = {key: value for key, value in os.environ.items() if key not in OF_ANOTHER_TMUX}
    path = f"{commands}:{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATHS}"
    control = {} if daemon is None else {PATH_VARIABLE: str(daemon.control)}
    return inherited | virtual_addresses(lab) | {"PATH": path} | control


def virtual_addresses(lab: Lab) -> dict[str, str]:
    """Return the variables $VIP and $VIP6."""
    return {"VIP": lab.vip.v4, "VIP6": lab.vip.v6}


def prompt(space: Namespace) -> str:
    """Return ``client$ `` or ``director# ``: all are root, but the client has no need to be."""
    return f"{space.host}{'$' if space.host == 'client' else '#'} "


def shell(space: Namespace, path: str, greeting: str = "") -> list[str]:
    """Return the command of an interactive shell in a host, which says ``greeting`` at first.

    ``path`` is its $PATH. Nothing of the user's own configuration is read, and no history is
    written.
    """
    file = space.directory / "bashrc"
    lines = [f"PS1={shlex.quote(prompt(space))}", f"PATH={shlex.quote(path)}", "unset HISTFILE"]
    lines += [f"printf '%s\\n' {shlex.quote(line)}" for line in greeting.splitlines()]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return inside(space, "bash", "--noprofile", "--rcfile", str(file), "-i")


def inside(space: Namespace, *argv: str) -> list[str]:
    """Return the command that runs another one in a host. Raise KernelError without iproute2."""
    find("ip")
    return ["ip", "netns", "exec", space.name, *argv]


def _write(path: Path, text: str, module: str) -> None:
    """Write a command that runs a module of this very lvsd, wherever it is called."""
    python, here = shlex.quote(sys.executable), shlex.quote(str(_CHECKOUT))
    run = f'PYTHONPATH={here} exec {python} -P -m {module} "$@"'
    path.write_text(f"#!/bin/sh\n{text}{run}\n", encoding="utf-8")
    path.chmod(0o755)
