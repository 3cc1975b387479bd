"""Make this host a real server, and undo that.

The last ``up`` counts: what an earlier one asked for differently is put back first, and one that
asks for what is there already changes nothing. All that is changed stands in a journal, see
`lvsd.io.machine`, before it is done.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.io.journal import Journal, journal_path
from lvsd.io.machine import Machine, put_back
from lvsd.realserver import quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvsd.realserver.settings import Settings

    Say = Callable[[str], None]

PATIENCE_S: Final = 10.0
"""How long `down` waits for the program that takes the outer headers off to end."""


def up(settings: Settings, directory: Path, say: Say) -> int:
    """Make this host what the settings say; return the exit status.

    Where lvsd itself takes the outer headers off this returns when it is told to end, and
    everything is put back then. Otherwise it returns at once, and `down` puts everything back.
    Raise KernelError, PrivilegeError.
    """
    path = journal_path(directory)
    if left := Journal.read(path):
        same = left.settings == settings.json()
        if left.writer_lives():
            if same:
                say(f"up already, by pid {left.pid}")
                return os.EX_OK
            raise KernelError(
                "change this real server",
                f"pid {left.pid} takes outer headers off as it was told before",
                "run `lvsd realserver down` first",
            )
        if not same:
            _tell(put_back(path), say)
    machine = Machine(path, settings.json())
    try:
        return _up(settings, machine, say)
    except BaseException:
        machine.restore()
        raise


def down(directory: Path, say: Say) -> int:
    """Put back what `up` changed, and end the program that it left running, if any.

    Raise KernelError, PrivilegeError.
    """
    path = journal_path(directory)
    left = Journal.read(path)
    if left is None:
        say("nothing is up")
        return os.EX_OK
    if left.writer_lives():
        _end(left)
        say(f"ended pid {left.pid}, which put everything back")
    _tell(put_back(path), say)
    return os.EX_OK


def _up(settings: Settings, machine: Machine, say: Say) -> int:
    be_quiet(machine)
    add_addresses(settings, machine)
    say("up")
    return os.EX_OK


def be_quiet(machine: Machine) -> None:
    """Have no interface speak of another one's addresses. Raise KernelError."""
    for sysctl in quiet.arp():
        machine.set_sysctl(sysctl.name, sysctl.value)


def add_addresses(settings: Settings, machine: Machine) -> None:
    """Add the virtual addresses; the host must be quiet about them already."""
    for vip in settings.vips:
        machine.add_address(settings.interface, vip)


def _end(journal: Journal) -> None:
    """Have the writer of a journal end, and wait for it. Raise KernelError."""
    operation = f"end pid {journal.pid}"
    try:
        process = os.pidfd_open(journal.pid)
    except ProcessLookupError:
        return
    try:
        if not journal.writer_lives():  # its number is another's by now
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], PATIENCE_S)[0]:
            remedy = f"see what it does, such as by `cat /proc/{journal.pid}/stack`"
            raise KernelError(operation, f"it still runs after {PATIENCE_S:.0f} s", remedy)
    except PermissionError as error:
        raise KernelError(operation, error, "run as root") from error
    finally:
        os.close(process)


def _tell(lines: list[str], say: Say) -> None:
    for line in lines:
        say(line)
