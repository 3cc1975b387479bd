"""One probe of one server: ask it within a time, and say in words what came of it."""

from __future__ import annotations

import asyncio
import errno
import os
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.health.base import LONGEST_REASON, UnhealthyError
from lvsd.printable import printable

if TYPE_CHECKING:
    from lvsd.health.base import Check, Target

OUR_OWN: Final = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN),
        *(errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EPERM, errno.EACCES, errno.ENOSYS),
        # Of a program that is to be run: it is not there any more, or is being written.
        *(errno.ENOENT, errno.ENOTDIR, errno.ENOEXEC, errno.EISDIR, errno.ELOOP),
        *(errno.ETXTBSY, errno.E2BIG),
    }
)
"""Errors that say something about this host, and nothing about a server."""


class Result(NamedTuple):
    """What a probe found: in words for people, and how long it took in seconds.

    ``at`` is when it ended, on the monotonic clock.
    """

    is_good: bool
    said: str
    took_s: float
    at: float


class UnknownError(Exception):
    """Nobody knows whether the server is well: it could not be asked; the text says why.

    The cause is an OSError of this host's, or whatever a third party's check has raised.
    """


async def ask(check: Check, target: Target, timeout_s: float) -> Result:
    """Ask a server; return what came of it. Raise UnknownError where it could not be asked."""
    began = monotonic()
    is_good = False
    try:
        async with asyncio.timeout(timeout_s):
            said = await check.probe(target)
        is_good = True
    except TimeoutError:
        said = f"no answer within {timeout_s:g} s"
    except UnhealthyError as error:
        said = str(error)
    except OSError as error:
        if error.errno in OUR_OWN:
            raise UnknownError(f"cannot be asked: {_in_words(error)}") from error
        said = _in_words(error)
    except Exception as error:
        raise UnknownError(f"the check fails: {type(error).__name__}: {error}") from error
    ended = monotonic()
    return Result(is_good, printable(said)[:LONGEST_REASON], ended - began, ended)


def _in_words(error: OSError) -> str:
    """Return what an error means. asyncio puts the address in front of it; that is known."""
    if error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
