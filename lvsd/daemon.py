"""The composition root: from a configuration to the processes that are a running lvsd.

One process forks the engines (`lvsd.supervisor.forker`), which move packets; this one is the
supervisor, which does everything else.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from lvsd import log
from lvsd.config.plugins import make_scheduler
from lvsd.control.stale import remove_stale
from lvsd.engine import engine
from lvsd.errors import KernelError, environment_error
from lvsd.io import machine, state_file
from lvsd.io.journal import journal_path
from lvsd.io.origin import origin
from lvsd.io.state_file import state_path
from lvsd.supervisor import handover, orphans
from lvsd.supervisor.beginning import Beginning, Succession
from lvsd.supervisor.forker import Forker, name_process
from lvsd.supervisor.supervisor import Supervisor
from lvsd.supervisor.unwinding import Reserve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lvsd.config import model
    from lvsd.core.sequence_numbers import Origin
    from lvsd.signals import StopRequest


def run(file: Path, config: model.Config, stop: StopRequest) -> int:
    """Run the daemon in this network namespace until SIGTERM or SIGINT; return the exit status.

    ``config`` is that of ``file``, which a reload reads again. Raise KernelError or PrivilegeError
    if it cannot start; nothing is left behind then. ``stop`` notes the signals already.
    """
    return _run(file, config, stop, Beginning)


def go_on(file: Path, descriptor: str, stop: StopRequest) -> int:
    """Run the daemon in the place of the one that has executed this program, as `run` does.

    ``descriptor`` names what it has handed over. Raise HandoverError too.
    """
    handed_over = handover.received(descriptor)
    config, commands = handover.taken(handed_over)
    log.configure(config.daemon.log_level, config.daemon.log_format)
    ends = (handed_over.descriptors or {}).values()
    return _run(file, config, stop, partial(Succession, handed_over, commands), ends)


def examine(data: bytes) -> str:
    """Return why this code would not go on with what it would be handed over; nothing if it would.

    Never raises.
    """
    try:
        handover.examine(data)
    except handover.HandoverError as error:
        return str(error)
    return ""


def lacking() -> str:
    """Return what keeps this process from being executed in an lvsd's place; nothing if it is none.

    It gives up its soft limits then. Never raises.
    """
    handed_over = len(handover.ENDS) + 1  # the last one is our end of a socket pair
    try:
        with ExitStack() as stack:
            for _ in range(handed_over):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            Reserve().release()
    except (OSError, KernelError) as error:
        return str(error)
    return ""


def _run(
    file: Path,
    config: model.Config,
    stop: StopRequest,
    begin: Callable[[model.Config], Beginning],
    ours_alone: Iterable[int] = (),
) -> int:
    gc.freeze()  # first, so that what was loaded and read stays shared with engines
    name_process("lvsd")
    beginning = begin(config)
    try:
        with ExitStack() as stack:
            runner = asyncio.Runner()
            stack.callback(_close, runner)
            forker = Forker(_be_an_engine, ours_alone)
            stack.callback(forker.close)
            reserve = Reserve()
            stack.callback(reserve.release)
            origin = partial(_origin, config)
            supervisor = Supervisor(file.absolute(), config, stop, forker, origin, beginning)
            runner.run(supervisor.serve(reserve))
    except Exception as error:
        beginning.abandon()
        beginning.fail(str(error) or type(error).__name__)
        if isinstance(error, OSError | MemoryError):
            raise environment_error("run lvsd", error) from error
        raise
    return os.EX_OK


def _close(runner: asyncio.Runner) -> None:
    with suppress(Exception):  # everything is undone; what ended the daemon is to be told
        runner.close()


def _be_an_engine(end: socket.socket) -> int:
    name_process("lvsd-engine")
    return engine.run(end, make_scheduler)


def _origin(config: model.Config) -> Origin:
    """Return where FULLNAT's numbers begin, be there FULLNAT now, or only after a change."""
    return origin(config.daemon.control.parent)


def cleanup(control: Path) -> int:
    """Say what is left of a killed daemon and remove it; return 0, or 71 if any of it stays."""
    with suppress(KernelError):  # what it keeps from being removed is said then
        orphans.outlive(lambda _: None)
    lines = machine.cleanup(journal_path(control.parent))
    with suppress(OSError):
        kept = state_file.remove(state_path(control.parent))
        lines += [] if kept is None else [f"dropped the state of {kept} connections"]
    with suppress(OSError):  # a living daemon's, in another network namespace
        lines += [f"removed the control socket {control}"] if remove_stale(control) else []
    for line in lines or ["nothing was left behind"]:
        print(line)  # noqa: T201 - the answer to a command
    return os.EX_OSERR if any(isinstance(line, machine.Unfinished) for line in lines) else os.EX_OK
