"""The file that a director's state lies in, for the one that comes after it.

It is mapped into the engine's memory, so that writing is no system call, and what is written is
there whoever is killed: it lies in the kernel's memory, under /run. It consists of a page that says
what it is, and slots (`lvsd.core.snapshot`); it grows by a megabyte.

Space is allocated before it is mapped: to touch a page of a full file system would end the process
by SIGBUS. A file that is not exactly what this lvsd writes, of this boot and network namespace, is
not believed, and one begins anew. So is one that two engines in a row began to read and did not
come to the end of. A single record that two engines in a row ended over is dropped.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from contextlib import suppress
from itertools import compress
from struct import Struct
from typing import TYPE_CHECKING, Final, Self

from lvsd import __version__
from lvsd.core.snapshot import FORMAT, SLOT, Kind
from lvsd.io.journal import namespace_cookie, this_namespace
from lvsd.io.private_files import UntrustedError, foreign, trusted

if TYPE_CHECKING:
    from pathlib import Path

HEADER: Final = mmap.PAGESIZE
STEP: Final = 1 << 20
"""How much it grows at a time, in bytes."""

AHEAD: Final = 2048
"""So many free slots there are at least after `StateFile.look`."""

TRIES: Final = 2
"""How many engines may die of reading it."""

_MAGIC: Final = b"lvsd st\0"
_HEAD: Final = Struct("<8sHH64s32s")  # magic, format, bytes of a slot, namespace, lvsd's version
_TRIES_AT: Final = _HEAD.size
_AT: Final = Struct("<I")
_AT_AT: Final = _TRIES_AT + 4
_LAST_AT: Final = _TRIES_AT + 8
_OTHERS: Final = 0o077
_NO_STATE: Final = "no lvsd left a state"


class ForeignStateError(Exception):
    """The file is not to be believed; the message says why."""


class StateFile:
    """The slots of a file that is open and locked; see `open`.

    ``buffer`` is the whole file, and grows in place. ``why_empty`` says why nothing is in it from
    before, "" where something may be; ``is_foreign`` if there was something, which was dropped.
    ``refusal`` is what the system said when it last did not let it grow, ``missed`` counts what
    found no slot for that. ``was_fatal`` if
    two engines in a row ended while they took in the same record, which is dropped for that.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.buffer = mmap.mmap(descriptor, size)
        self._free: list[int] = []
        self.why_empty = ""
        self.is_foreign = False
        self.refusal: OSError | None = None
        self.missed = 0
        self.was_fatal = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, or begin it anew. Raise OSError, UntrustedError or BlockingIOError.

        The last where an engine has it.
        """
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with trusted(path.parent) as directory:
            why = _NO_STATE
            try:
                return cls._opened(directory, path.name)
            except FileNotFoundError:
                pass
            except (ForeignStateError, UntrustedError) as error:
                why = str(error)
            with suppress(FileNotFoundError):
                os.unlink(path.name, dir_fd=directory)
            found = cls._made(directory, path.name)
        found.why_empty, found.is_foreign = why, why != _NO_STATE
        return found

    @classmethod
    def _opened(cls, directory: int, name: str) -> Self:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=directory)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ForeignStateError(f"it cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = _size(descriptor)
            os.posix_fallocate(descriptor, 0, size)
            found = cls(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            found._check()
        except ForeignStateError:
            found.close()
            raise
        return found

    @classmethod
    def _made(cls, directory: int, name: str) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, HEADER + STEP)
            found = cls(descriptor, HEADER + STEP)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        found.buffer[: _HEAD.size] = _head()
        return found

    def _check(self) -> None:
        """Raise ForeignStateError unless this is a file as `_made` begins it."""
        magic, *numbers, _, version = _HEAD.unpack_from(self.buffer)
        if magic != _MAGIC:
            raise ForeignStateError("it is not lvsd's")
        if numbers != [FORMAT, SLOT]:
            writer = version.rstrip(b"\0").decode("ascii", "replace")
            raise ForeignStateError(f"it is of another version, written by lvsd {writer}")
        if self.buffer[: _HEAD.size - 32] != _head()[:-32]:
            raise ForeignStateError("it is from before this boot, or of another network namespace")
        if (len(self.buffer) - HEADER) % STEP:
            raise ForeignStateError("it is cut off")
        if self.buffer[_TRIES_AT] >= TRIES:
            raise ForeignStateError(f"{TRIES} engines in a row ended while they read it")

    def close(self) -> None:
        """Let go of it; another one may open it."""
        self.buffer.close()
        os.close(self._descriptor)

    # --- slots ------------------------------------------------------------------------------------

    def begin_reading(self) -> dict[int, list[int]]:
        """Return by kind where there are records. `end_reading` is to follow, or an end by it."""
        self.buffer[_TRIES_AT] += 1
        self._drop_fatal()
        kinds = self.buffer[HEADER::SLOT]
        slots = range(HEADER, len(self.buffer), SLOT)
        records = {kind: list(compress(slots, kinds.translate(_is(kind)))) for kind in set(kinds)}
        self._free = records.pop(Kind.FREE, [])[::-1]
        return records

    def _drop_fatal(self) -> None:
        """Drop the record that both engines before took in when they ended.

        One engine may just have been killed meanwhile.
        """
        (at,) = _AT.unpack_from(self.buffer, _AT_AT)
        (before,) = _AT.unpack_from(self.buffer, _LAST_AT)
        is_slot = HEADER <= at < len(self.buffer) and not (at - HEADER) % SLOT
        self.was_fatal = is_slot and at == before
        if self.was_fatal:
            self.buffer[at] = Kind.FREE
        _AT.pack_into(self.buffer, _LAST_AT, at)
        self.taking_in(0)

    def taking_in(self, at: int) -> None:
        """Take note that the record at a slot is being taken in; 0: none is."""
        _AT.pack_into(self.buffer, _AT_AT, at)

    def end_reading(self) -> None:
        """Take note that all of it was read, and nobody died of that."""
        self.buffer[_TRIES_AT] = 0

    def take(self) -> int:
        """Return where a free slot begins; 0 where there is no room for one."""
        free = self._free
        if free:
            return free.pop()
        if self.refusal is None:  # else there is none until `look` tries again
            self._grow()
        if free:
            return free.pop()
        self.missed += 1
        return 0

    @property
    def is_removed(self) -> bool:
        """Whether nobody can find it any more."""
        return not os.fstat(self._descriptor).st_nlink

    def give_back(self, at: int) -> None:
        """Let a slot, which is cleared, be free."""
        self._free.append(at)

    def look(self) -> None:
        """Make room ahead of time. Raise OSError where there is none."""
        if len(self._free) < AHEAD:
            self._grow()
            if self.refusal is not None:
                raise self.refusal

    def _grow(self) -> None:
        size = len(self.buffer)
        try:
            os.posix_fallocate(self._descriptor, size, STEP)
            self.buffer.resize(size + STEP)
        except OSError as error:
            self.refusal = error
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
        else:
            self.refusal = None
            self._free.extend(range(size + STEP - SLOT, size - SLOT, -SLOT))


def state_path(directory: Path) -> Path:
    """Return where the state of this network namespace lies."""
    return directory / f"state-{namespace_cookie()}"


def remove(path: Path) -> int | None:
    """Remove a state; return of how many connections it was, None where there was none.

    Raise OSError.
    """
    if path.is_dir():
        return None
    try:
        count = path.read_bytes()[HEADER::SLOT].count(Kind.CONNECTION)
        path.unlink()
    except FileNotFoundError:
        return None
    return count


def _is(kind: int) -> bytes:
    """Return a table for `bytes.translate` that leaves what is of a kind, and makes the rest 0."""
    return bytes(each == kind for each in range(256))


def _size(descriptor: int) -> int:
    """Return the size of a file that may be one of ours. Raise ForeignStateError."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ForeignStateError("it is no file")
    if fault := foreign(found, _OTHERS):
        raise ForeignStateError(f"it {fault}")
    if found.st_size < HEADER + STEP:
        raise ForeignStateError("it is cut off")
    return found.st_size


def _head() -> bytes:
    namespace, version = this_namespace().encode(), __version__.encode()
    return _HEAD.pack(_MAGIC, FORMAT, SLOT, namespace, version)
