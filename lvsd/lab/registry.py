"""What labs there are, so that one that was killed can be removed by the next.

Each lab has a file in `REGISTRY` that says what it made, and holds a lock on it as long as it
lives. The kernel drops the lock with the process, however that ends: a file that can be locked
belongs to nobody any more. Nothing is concluded from process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lvsd.errors import KernelError
from lvsd.lab import processes
from lvsd.net import namespaces

REGISTRY = Path("/run/lvsd-lab")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a lab made: ``namespaces`` by full name, ``directory`` for its files."""

    name: str
    namespaces: tuple[str, ...]
    directory: str


class Registration:
    """A lab's name, taken and locked until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.name = path.stem
        self._path = path
        self._descriptor = descriptor

    def record(self, entry: Entry) -> None:
        """Write down what the lab is about to make."""
        text = json.dumps(asdict(entry)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Give the name back: nothing of the lab is left."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def register(name: str) -> Registration:
    """Take a name that no other lab has: ``name-PID``, or ``name-PID-2`` and so on."""
    REGISTRY.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=REGISTRY)
    try:
        # Locked before it has its name: nobody can take it for a leftover in between.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for number in itertools.count(1):
            suffix = f"-{number}" if number > 1 else ""
            path = REGISTRY / f"{name}-{os.getpid()}{suffix}.json"
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(temporary)
                return Registration(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        Path(temporary).unlink()
    raise AssertionError("itertools.count ended")


def remove_leftovers() -> list[str]:
    """Remove all labs whose process is gone; return their names. Living labs are not touched."""
    removed = []
    for path in sorted(REGISTRY.glob("*.json")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        text = path.read_bytes() if path.exists() else b""
        registration = Registration(path, descriptor)
        if text:
            remove(Entry(**json.loads(text)))
        registration.release()
        removed.append(path.stem)
    return removed


def remove(entry: Entry) -> None:
    """Remove a lab: what runs inside, its namespaces with all that is in them, its files.

    Goes on after a failure, and raises it as KernelError at the end.
    """
    processes.sweep(entry.namespaces)
    refused: KernelError | None = None
    try:
        for name in entry.namespaces:
            try:
                namespaces.delete(name)
            except KernelError as error:
                refused = error
    finally:
        shutil.rmtree(entry.directory, ignore_errors=True)
    if refused is not None:
        raise refused
