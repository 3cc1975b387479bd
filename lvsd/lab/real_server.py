"""What a real server needs for its way, done by ``lvsd realserver`` as an operator would."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab import programs
from lvsd.lab.notify import begin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lvsd.lab.lab import Lab
    from lvsd.lab.namespace import Namespace
    from lvsd.lab.notify import Starting
    from lvsd.lab.plan import Addresses
    from lvsd.lab.program import Program

NAME = "realserver"
MODES = ("dr", "tun")
"""The ways for which a real server has to be prepared."""


def serve(lab: Lab) -> str:
    """Prepare every real server for its way and start nginx there.

    Under FULLNAT nginx reads TOA, so that it sees the clients. Return why it does not where the
    machine lacks what that needs, such as BPF; nothing if all is well. Raise KernelError.
    """
    reason = ""
    up_all(lab.servers, lab.vip, mss="auto")
    for space in lab.servers:
        if space.way != "fullnat":
            programs.nginx(space)
            continue
        try:
            programs.nginx(space, under=reading_toa(lab.local_addresses))
        except KernelError as error:
            reason = str(error)
            programs.nginx(space)
    return reason


def reading_toa(local: Iterable[Addresses]) -> list[str]:
    """Return the beginning of a command that runs a program with TOA read, from these addresses."""
    addresses = [f"--from={address}" for pair in local for address in (pair.v4, pair.v6)]
    return [sys.executable, "-m", "lvsd", NAME, "toa", "run", *addresses, "--"]


def up(
    namespace: Namespace,
    vip: Addresses,
    *,
    tunnel: str = "ipip",
    port: int | None = None,
    mss: str | None = None,
) -> Program | None:
    """Give a real server of DR or TUN the virtual addresses; for TUN, take tunnels off.

    ``tunnel`` is ipip, gue or gre, ``port`` GUE's, ``mss`` the most that TCP is to announce from
    there, or auto. Return when packets can come: with the program, which goes on running where it
    has to take the outer headers off itself, or None for a way that needs nothing. Raise
    KernelError, with the program's words, when it fails.
    """
    starting = _begin(namespace, vip, tunnel, port, mss)
    return None if starting is None else starting.wait()


def up_all(
    servers: Iterable[Namespace],
    vip: Addresses,
    *,
    tunnel: str = "ipip",
    port: int | None = None,
    mss: str | None = None,
) -> None:
    """Do what `up` does for several real servers, all at once. ``mss`` is for those of TUN."""
    with contextlib.ExitStack() as stack:
        begun = [
            stack.enter_context(contextlib.closing(starting))
            for space in servers
            if (starting := _begin(space, vip, tunnel, port, mss)) is not None
        ]
        for starting in begun:
            starting.wait()


def _begin(
    namespace: Namespace, vip: Addresses, tunnel: str, port: int | None, mss: str | None
) -> Starting | None:
    mode = namespace.way
    if mode not in MODES:
        return None
    argv = _command("up", namespace, "--mode", mode, "--vip", vip.v4, "--vip", vip.v6)
    if mode == "tun":
        argv += ["--tunnel", tunnel]
        argv += ["--port", str(port)] if port is not None else []
        argv += ["--mss", mss] if mss is not None else []
    return begin(namespace, argv, NAME, may_end=True)


def down(namespace: Namespace) -> None:
    """Put back what `up` changed, and end what it left running. Raise KernelError."""
    done = namespace.run(_command("down", namespace), check=False)
    if done.returncode != os.EX_OK:
        raise KernelError(
            f"put back the real server {namespace.name}",
            f"the command ended with status {done.returncode}",
            f"it said: {done.stdout}{done.stderr}",
        )


def _command(verb: str, namespace: Namespace, *options: str) -> list[str | Path]:
    state = namespace.directory / NAME
    return [sys.executable, "-m", "lvsd", NAME, verb, "--state", state, *options]
