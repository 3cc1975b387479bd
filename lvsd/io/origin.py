"""Where FULLNAT's numbers and ports begin: a secret that outlives the daemon, the time, chance.

The secret lies in the runtime directory, beside the journal, readable to its owner alone. It stays
there when the daemon ends; after a reboot there is another one.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final

from lvsd.core.sequence_numbers import Origin

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "secret"
_BYTES: Final = 16
_PRIVATE: Final = 0o077


def origin(directory: Path) -> Origin:
    """Return the origin of a director whose clock is the monotonic one.

    Never raises: where the secret can neither be read nor kept, this run has one of its own.
    """
    path = directory / NAME
    try:
        secret = _read(path) or _make(path)
    except OSError:
        secret = os.urandom(_BYTES)
    wall_s = time.time() - time.monotonic()
    return Origin(secret, wall_s, int.from_bytes(os.urandom(2), "big"))


def _read(path: Path) -> bytes | None:
    """Return the secret; None where there is none that nobody else can know. Raise OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        owned = found.st_uid in {0, os.geteuid()} and not found.st_mode & _PRIVATE
        secret = file.read(_BYTES + 1) if stat.S_ISREG(found.st_mode) and owned else b""
    return secret if len(secret) == _BYTES else None


def _make(path: Path) -> bytes:
    """Write a new secret, whole or not at all, and return it. Raise OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    secret = os.urandom(_BYTES)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(draft, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return secret
