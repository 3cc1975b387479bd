"""libbpf by ctypes: load an object, attach its programs to cgroups, read its maps.

libbpf (Debian's libbpf1) knows what each kernel needs of an object: relocations, BTF made fit for
old kernels, the limit of locked memory. Descriptors are plain integers; whoever gets one closes
it. Every function here raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lvsd.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALLOW_MULTI: Final = 1 << 1
"""BPF_F_ALLOW_MULTI: beside the programs of others, on this cgroup and those below."""

_MAX_PROGRAMS: Final = 64  # BPF_CGROUP_MAX_PROGS
_PROGRAM_INFO: Final = struct.Struct("=II8sIIQQQIIQ16s")  # struct bpf_prog_info, up to name
_MAP_INFO: Final = struct.Struct("=6I16s")  # struct bpf_map_info, up to name
_MAX_MAPS: Final = 64
_LOG_LINES: Final = 12


class Hook(IntEnum):
    """Where in a cgroup a program is attached (enum bpf_attach_type)."""

    SOCK_OPS = 3
    GETPEERNAME4 = 29
    GETPEERNAME6 = 30


class Program(NamedTuple):
    """A program in the kernel: its id, name, and the ids of the maps that it uses."""

    id: int
    name: str
    maps: tuple[int, ...]


class Map(NamedTuple):
    """A map in the kernel."""

    id: int
    name: str
    key_size: int
    value_size: int
    max_entries: int


_SPRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    # name: what it returns, what it takes
    "libbpf_set_print": (ctypes.c_void_p, _SPRINT),
    "libbpf_num_possible_cpus": (ctypes.c_int,),
    "bpf_object__open_file": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    "bpf_object__load": (ctypes.c_int, ctypes.c_void_p),
    "bpf_object__close": (None, ctypes.c_void_p),
    "bpf_object__find_program_by_name": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p),
    "bpf_object__find_map_fd_by_name": (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p),
    "bpf_program__fd": (ctypes.c_int, ctypes.c_void_p),
    "bpf_prog_attach": (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint),
    "bpf_prog_detach2": (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    "bpf_prog_query": (
        ctypes.c_int,
        *(ctypes.c_int, ctypes.c_int, ctypes.c_uint32),
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    ),
    "bpf_prog_get_fd_by_id": (ctypes.c_int, ctypes.c_uint32),
    "bpf_map_get_fd_by_id": (ctypes.c_int, ctypes.c_uint32),
    "bpf_obj_get_info_by_fd": (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    "bpf_map_update_elem": (
        ctypes.c_int,
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64),
    ),
    "bpf_map_delete_elem": (ctypes.c_int, ctypes.c_int, ctypes.c_char_p),
    "bpf_map_lookup_elem": (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p),
    "bpf_map_get_next_key": (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p),
}


class Libbpf:
    """The library, loaded. Raise KernelError when it is not there."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
            self._libc = ctypes.CDLL(None)
            for name, (returns, *takes) in _FUNCTIONS.items():
                function = getattr(self._lib, name)
                function.restype, function.argtypes = returns, takes
        except (OSError, AttributeError) as error:
            raise KernelError(
                "load libbpf.so.1", str(error), "install libbpf 1.0 or newer (Debian: libbpf1)"
            ) from error
        self.said: list[str] = []
        """What libbpf and the verifier said, latest last."""
        self._print = _SPRINT(self._listen)
        self._lib.libbpf_set_print(self._print)

    def complaint(self) -> str:
        """Return the last lines that libbpf and the verifier said."""
        lines = "".join(self.said).splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    @contextmanager
    def loaded(self, path: Path) -> Iterator[Object]:
        """Load an object's programs and maps; they live on for as long as something uses them."""
        self.said.clear()
        handle = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not handle:
            raise _error(ctypes.get_errno())
        try:
            self._check(self._lib.bpf_object__load(handle))
            yield Object(self, handle)
        finally:
            self._lib.bpf_object__close(handle)

    def program(self, handle: int, name: str) -> int:
        """Return the descriptor, the object's own, of one of its programs."""
        found = self._lib.bpf_object__find_program_by_name(handle, name.encode())
        if not found:
            raise _error(errno.ENOENT)
        return self._check(self._lib.bpf_program__fd(found))

    def map(self, handle: int, name: str) -> int:
        """Return the descriptor, the object's own, of one of its maps."""
        return self._check(self._lib.bpf_object__find_map_fd_by_name(handle, name.encode()))

    def attach(self, program: int, cgroup: int, hook: Hook) -> None:
        """Attach a program beside those that are there already, until it is detached."""
        self._check(self._lib.bpf_prog_attach(program, cgroup, hook, ALLOW_MULTI))

    def detach(self, program: int, cgroup: int, hook: Hook) -> None:
        """Detach a program; others stay."""
        self._check(self._lib.bpf_prog_detach2(program, cgroup, hook))

    def attached(self, cgroup: int, hook: Hook) -> list[Program]:
        """Return the programs of this very cgroup, not of those above, in order of attachment."""
        ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
        number = ctypes.c_uint32(_MAX_PROGRAMS)
        flags = ctypes.c_uint32()
        self._check(
            self._lib.bpf_prog_query(
                cgroup, hook, 0, ctypes.byref(flags), ids, ctypes.byref(number)
            )
        )
        found = []
        for identity in ids[: number.value]:
            try:
                with self.program_opened(identity) as program:
                    found.append(self._about_program(program))
            except FileNotFoundError:  # it went meanwhile
                continue
        return found

    @contextmanager
    def program_opened(self, identity: int) -> Iterator[int]:
        """Open a program by its id."""
        yield from _closing(self._check(self._lib.bpf_prog_get_fd_by_id(identity)))

    @contextmanager
    def map_opened(self, identity: int) -> Iterator[int]:
        """Open a map by its id."""
        yield from _closing(self._check(self._lib.bpf_map_get_fd_by_id(identity)))

    def about_map(self, identity: int) -> Map:
        """Return what a map is."""
        with self.map_opened(identity) as descriptor:
            data = self._info(descriptor, bytes(_MAP_INFO.size))
        _, number, key_size, value_size, max_entries, _, name = _MAP_INFO.unpack(data)
        return Map(number, _text(name), key_size, value_size, max_entries)

    def items(self, table: int, key_size: int, value_size: int) -> dict[bytes, bytes]:
        """Return all keys and values of a map; a per-CPU map's values one after the other."""
        found: dict[bytes, bytes] = {}
        key: bytes | None = None
        following = ctypes.create_string_buffer(key_size)
        value = ctypes.create_string_buffer(value_size)
        while True:
            try:
                self._check(self._lib.bpf_map_get_next_key(table, key, following))
            except FileNotFoundError:
                return found
            key = following.raw
            if key in found:  # the map was changed meanwhile, and the walk began anew
                return found
            try:
                self._check(self._lib.bpf_map_lookup_elem(table, key, value))
            except FileNotFoundError:
                continue
            found[key] = value.raw

    def update(self, table: int, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        self._check(self._lib.bpf_map_update_elem(table, key, value, 0))

    def delete(self, table: int, key: bytes) -> None:
        """Remove a key."""
        self._check(self._lib.bpf_map_delete_elem(table, key))

    def processors(self) -> int:
        """Return how many values a per-CPU map has for a key."""
        return self._check(self._lib.libbpf_num_possible_cpus())

    def _about_program(self, descriptor: int) -> Program:
        data = self._info(descriptor, bytes(_PROGRAM_INFO.size))
        number = _PROGRAM_INFO.unpack(data)[9]
        maps = (ctypes.c_uint32 * min(number, _MAX_MAPS))()
        fields = [0, 0, b"", 0, 0, 0, 0, 0, 0, len(maps), ctypes.addressof(maps), b""]
        data = self._info(descriptor, _PROGRAM_INFO.pack(*fields))
        _, identity, *_, name = _PROGRAM_INFO.unpack(data)
        return Program(identity, _text(name), tuple(maps))

    def _info(self, descriptor: int, request: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(request, len(request))
        length = ctypes.c_uint32(len(request))
        self._check(self._lib.bpf_obj_get_info_by_fd(descriptor, buffer, ctypes.byref(length)))
        return buffer.raw

    def _check(self, result: int) -> int:
        """Return what libbpf returned, unless that is an error's negative number."""
        if result < 0:
            raise _error(-result)
        return result

    def _listen(self, level: int, form: bytes, arguments: int) -> int:
        """Keep a warning of libbpf; the rest is for those who debug libbpf."""
        if level == 0:
            line = ctypes.create_string_buffer(1 << 16)
            self._libc.vsnprintf(line, len(line), form, ctypes.c_void_p(arguments))
            self.said.append(line.value.decode(errors="replace"))
        return 0


class Object:
    """A loaded object; its descriptors are good until its block ends."""

    def __init__(self, library: Libbpf, handle: int) -> None:
        self._library = library
        self._handle = handle

    def program(self, name: str) -> int:
        """Return the descriptor of a program."""
        return self._library.program(self._handle, name)

    def map(self, name: str) -> int:
        """Return the descriptor of a map."""
        return self._library.map(self._handle, name)


def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode(errors="replace")


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
