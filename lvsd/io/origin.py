"""Where FULLNAT's numbers and ports begin: a secret that outlives the daemon, the time, chance.

The secret lies in the runtime directory, beside the journal, readable to its owner alone, and only
where nobody else writes to the directory. It stays there when the daemon ends; after a reboot there
is another one.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from lvsd.core.sequence_numbers import Origin
from lvsd.io.private_files import UntrustedError, foreign, trusted, write_whole

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "secret"
_BYTES: Final = 16
_OTHERS: Final = 0o077


def origin(directory: Path) -> Origin:
    """Return the origin of a director whose clock is the monotonic one.

    Never raises: where the secret can neither be read nor kept, this run has one of its own.
    """
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with trusted(directory) as place:
            secret = _read(place) or _make(place)
    except (OSError, UntrustedError):
        secret = os.urandom(_BYTES)
    wall_s = time.time() - time.monotonic()
    return Origin(secret, wall_s, int.from_bytes(os.urandom(2), "big"))


def _read(directory: int) -> bytes | None:
    """Return the secret; None where there is none that nobody else can know. Raise OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(NAME, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP}:
            return None
        raise
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        private = stat.S_ISREG(found.st_mode) and not foreign(found, _OTHERS)
        secret = file.read(_BYTES + 1) if private else b""
    return secret if len(secret) == _BYTES else None


def _make(directory: int) -> bytes:
    """Write a new secret, whole or not at all, and return it. Raise OSError."""
    secret = os.urandom(_BYTES)
    write_whole(directory, NAME, secret)
    return secret
