"""Where the commands begin: what loads the rest, and has words for it where the memory is short.

Under a tight limit (`ulimit -v`, LimitAS=) a module fails to load in any of several ways: Python
says MemoryError, the dynamic linker "failed to map segment" in an ImportError, and now and then
Python loses the error and says SystemError. So what is asked is not which error it was, but
whether there is any memory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ENOUGH_BYTES = 16 << 20
"""If so much memory cannot be had, a failure was for lack of it."""

_SHORT = "out of memory; give it more memory, or less to do"
_LIST_FAILED = 1
_INTERRUPTED = 130
_STDERR = 2


def lvsd() -> int:
    """Run the command ``lvsd``; return the exit status."""
    return _run("lvsd", _lvsd, os.EX_OSERR)


def lvsadm() -> int:
    """Run the command ``lvsadm``; return the exit status."""
    return _run("lvsadm", _lvsadm, _LIST_FAILED)


def _lvsd() -> int:
    from lvsd.signals import StopRequest  # noqa: PLC0415 - it may be this that does not load

    with StopRequest() as stop:  # before anything that takes time; for most commands, not for long
        from lvsd.cli import main  # noqa: PLC0415 - same reason

        return main(stop=stop)


def _lvsadm() -> int:
    from lvsd.control.lvsadm import main  # noqa: PLC0415 - same reason

    return main()


def is_memory_short(error: BaseException) -> bool:
    """Return whether an error is one of too little memory, whatever it says."""
    if isinstance(error, MemoryError):
        return True
    try:
        from mmap import mmap  # noqa: PLC0415 - nothing else has to load here

        mmap(-1, ENOUGH_BYTES).close()
    except (ImportError, MemoryError, OSError, SystemError):
        return True
    return False


def _run(program: str, command: Callable[[], int], status: int) -> int:
    line = f"{program}: {_SHORT}\n".encode()
    try:
        return command()
    except MemoryError:
        pass  # not even a call may succeed before all that the traceback holds is gone
    except Exception as error:
        if not is_memory_short(error):
            raise
    except KeyboardInterrupt:  # before there is anybody to tell it from a stop
        return _INTERRUPTED
    with suppress(OSError):
        os.write(_STDERR, line)
    return status
