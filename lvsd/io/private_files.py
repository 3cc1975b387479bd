"""Files that root believes: where nobody else writes, and whole or not there at all."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class UntrustedError(Exception):
    """Somebody else may have written what is to be believed, or may write it yet."""


class UntrustedDirectoryError(UntrustedError):
    """The directory is not one that only root, or we, write to."""


@contextmanager
def trusted(directory: Path) -> Iterator[int]:
    """Open a directory that only root or we write to. Raise OSError, UntrustedDirectoryError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if fault := foreign(os.fstat(descriptor), stat.S_IWOTH):
            raise UntrustedDirectoryError(f"its directory {fault}")
        yield descriptor
    finally:
        os.close(descriptor)


def foreign(found: os.stat_result, forbidden: int) -> str:
    """Return why others have a hand in a file that must not have the ``forbidden`` modes, or ""."""
    if found.st_uid not in {0, os.geteuid()}:
        return f"belongs to uid {found.st_uid}"
    return "can be written by others" if found.st_mode & forbidden else ""


def draft_of(name: str) -> str:
    """Return the name under which a file is written until it is whole."""
    return str(Path(name).with_suffix(".new"))


def write_whole(directory: int, name: str, data: bytes) -> None:
    """Have a file hold this on the disk, or leave everything as it was; nobody else may read it.

    ``directory`` is open. Raise OSError.
    """
    draft = draft_of(name)
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(draft, flags, 0o600, dir_fd=directory), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise
    os.fsync(directory)
