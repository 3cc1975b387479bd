"""Make this host a real server, and undo that.

The last ``up`` counts: what an earlier one asked for differently is put back first, and one that
asks for what is there already changes nothing. All that is changed stands in a journal, see
`lvsd.io.machine`, before it is done.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from lvsd import notify
from lvsd.errors import KernelError
from lvsd.io.journal import Journal, journal_path
from lvsd.io.machine import Machine, Unfinished, put_back
from lvsd.net import links
from lvsd.net.kernel import talking
from lvsd.realserver import kernel_devices, mss, quiet
from lvsd.realserver.decapsulator import Decapsulator, exit_status
from lvsd.realserver.ends import ends
from lvsd.signals import deferred, unwinding

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
    Raise KernelError, PrivilegeError, Terminated; what was set is put back then, too.
    """
    _refuse_an_interface_that_speaks(settings.interface)
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
    with unwinding():
        try:
            status = _up(settings, machine, path, say)
        except BaseException:
            with deferred():
                machine.restore()
            raise
        if status is None:
            return os.EX_OK
        with deferred():
            done = _tell(machine.restore(), say)
    return status or (os.EX_OK if done else os.EX_OSERR)


def down(directory: Path, say: Say) -> int:
    """Put back what `up` changed, and end the program that it left running, if any.

    Return 71 if something stays. Raise KernelError, PrivilegeError.
    """
    path = journal_path(directory)
    left = Journal.read(path)
    if left is None:
        say("nothing is up")
        return os.EX_OK
    if left.writer_lives():
        _end(left)
        say(f"ended pid {left.pid}, which put everything back")
    return os.EX_OK if _tell(put_back(path), say) else os.EX_OSERR


def counts_path(journal: Path) -> Path:
    """Return where the program that takes outer headers off counts packets."""
    return journal.with_name(journal.name.replace("journal", "counts"))


def _up(settings: Settings, machine: Machine, path: Path, say: Say) -> int | None:
    """Set everything; return the exit status of the program that had to run, or None."""
    wanted = ends(settings)
    left = (
        wanted
        if settings.by == "lvsd"
        else kernel_devices.make(wanted, settings.directors, machine)
    )
    if left and settings.by == "kernel":
        operation = f"let the kernel receive {', '.join(map(str, left))}"
        raise KernelError(operation, "it has no device for that", "leave out --by kernel")
    if not left:
        _set(settings, machine)
        _ready("up", say)
        return None
    with closing(Decapsulator(settings, left, counts_path(path))) as decapsulator:
        _set(settings, machine)
        text = f"up; lvsd itself takes off the outer headers ({', '.join(map(str, left))})"
        ended_by = decapsulator.run(lambda: _ready(text, say))
        notify.notify(notify.STOPPING)
    return exit_status(ended_by)


def _refuse_an_interface_that_speaks(interface: str) -> None:
    operation = f"put virtual addresses on {interface}"
    remedy = "take lo, or an interface without ARP such as a dummy"
    with talking() as kernel:
        link = links.find(kernel, interface)
    if link is None:
        raise KernelError(operation, OSError(errno.ENODEV, os.strerror(errno.ENODEV)), remedy)
    if link.speaks_arp:
        raise KernelError(operation, "it answers ARP for its addresses", remedy)


def _set(settings: Settings, machine: Machine) -> None:
    """Have no interface speak of another one's addresses, and only then add the virtual ones."""
    for sysctl in quiet.arp():
        machine.set_sysctl(sysctl.name, sysctl.value)
    limits = mss.wanted(settings)
    if limits and mss.in_force() != limits:
        machine.replace_table(mss.TABLE, mss.commands(limits))
    machine.add_addresses([(settings.interface, vip) for vip in settings.vips])


def _ready(text: str, say: Say) -> None:
    notify.notify(notify.READY, notify.status(text))
    say(text)


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


def _tell(lines: list[str], say: Say) -> bool:
    """Say what was put back, and what could not be; return whether all was."""
    for line in lines:
        say(line)
    return not any(isinstance(line, Unfinished) for line in lines)
