"""The programs that read TOA, attached to a cgroup: put there, found again, taken away.

They stay after the process that attached them, until they are detached or the cgroup goes. Those
of one attachment are known by the one map that all three share. Attached programs of others, on
the same hooks, are left as they are.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import platform
import struct
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from lvsd.errors import KernelError, PrivilegeError
from lvsd.realserver.toa import prefixes
from lvsd.realserver.toa.libbpf import Hook, Libbpf, Map, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.realserver.toa.cgroups import Tree
    from lvsd.realserver.toa.libbpf import Object
    from lvsd.realserver.toa.prefixes import Prefix

OBJECT: Final = Path(__file__).parent / "bpf" / "toa.bpf.o"

PROGRAMS: Final = {
    Hook.GETPEERNAME4: "lvsd_toa_peer4",
    Hook.GETPEERNAME6: "lvsd_toa_peer6",
    Hook.SOCK_OPS: "lvsd_toa_read",
}
"""In the order to attach them: nothing is read before it can be shown."""

CONF, FROM, COUNT, CLIENT = (
    "lvsd_toa_conf",
    "lvsd_toa_from",
    "lvsd_toa_count",
    "lvsd_toa_client",
)

DEFAULT_KIND: Final = 254

_CONF: Final = struct.Struct("=8sBB6x")  # struct settings
_ZERO: Final = struct.pack("=I", 0)
_COUNTER: Final = struct.Struct("=Q")
_PRESENT: Final = b"\1"

Change: TypeAlias = Literal["attached", "changed", "unchanged"]


class Kinds(NamedTuple):
    """The option's kind, 0-255: DPVS has 254 for both, Alibaba's LVS 253 for IPv6."""

    ipv4: int = DEFAULT_KIND
    ipv6: int = DEFAULT_KIND


@dataclass(frozen=True, slots=True)
class Counts:
    """Connections since the programs were attached, in the order of enum counter in toa.bpf.c."""

    read: int = 0
    absent: int = 0
    untrusted: int = 0
    malformed: int = 0
    unfit: int = 0


@dataclass(slots=True)
class Attachment:
    """Programs of one attachment to a cgroup, and its maps by name."""

    programs: dict[Hook, Program] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all three programs are there."""
        return self.programs.keys() == PROGRAMS.keys()


@dataclass(frozen=True, slots=True)
class Status:
    """What is attached to one cgroup."""

    cgroup: str
    trusted: tuple[str, ...]
    kinds: Kinds
    whole: bool
    """All three programs are there; `up` adds those that are missing."""
    current: bool
    """They are those of this lvsd; `up` replaces others."""
    counts: Counts

    def as_json(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "cgroup": self.cgroup,
            "from": list(self.trusted),
            "kind": self.kinds.ipv4,
            "kind_v6": self.kinds.ipv6,
            "whole": self.whole,
            "current": self.current,
            "connections": asdict(self.counts),
        }


class Reader:
    """TOA on the cgroups of a tree. ``path`` is the object. Raise KernelError without libbpf."""

    def __init__(self, tree: Tree, path: Path = OBJECT) -> None:
        self._tree = tree
        self._path = path
        self._bpf = Libbpf()

    def up(self, cgroup: str, trusted: frozenset[Prefix], kinds: Kinds) -> Change:
        """Have the option read in a cgroup, from these peers only.

        What is attached already is changed in place, and no connection forgets its client. Only
        programs of another build, or some without the others, are replaced. Raise KernelError or
        PrivilegeError; then nothing was changed, or what is attached still misses peers.
        """
        build = self._build()
        with self._locked(cgroup) as descriptor:
            found = self._attachments(descriptor)
            kept = next(
                (one for one in found if one.whole and self._settings(one)[0] == build), None
            )
            if kept:
                change = self._change(kept, trusted, kinds)
            else:
                self._attach(descriptor, cgroup, build, trusted, kinds)
                change = "attached"
            for old in found:
                if old is not kept:
                    self._detach(descriptor, old)
        return change

    def down(self, cgroup: str) -> bool:
        """Detach what `up` attached to a cgroup; return whether there was any."""
        with self._locked(cgroup) as descriptor:
            found = self._attachments(descriptor)
            for one in found:
                self._detach(descriptor, one)
        return bool(found)

    def status(self) -> list[Status]:
        """Return what is attached, in the order of the cgroups' names."""
        return [status for name in sorted(self._tree.names()) for status in self._status_of(name)]

    def missing(self) -> list[str]:
        """Return what this machine lacks, in words; nothing when `up` can work."""
        if not self._path.exists():
            return ["the programs were not built: run `make bpf`"]
        try:
            with self._object():
                return []
        except KernelError as error:
            return [str(error)]

    def _status_of(self, name: str) -> Iterator[Status]:
        try:
            with self._tree.opened(name) as descriptor:
                found = self._attachments(descriptor)
        except KernelError as error:
            if error.errno in {errno.ENOENT, errno.ENODEV}:  # the cgroup went meanwhile
                return
            raise
        ours = self._build() if found and self._path.exists() else b""
        for one in found:
            build, kinds = self._settings(one)
            trusted = tuple(prefixes.texts(self._trusted(one)))
            yield Status(name, trusted, kinds, one.whole, build == ours, self._counts(one))

    @contextmanager
    def _locked(self, cgroup: str) -> Iterator[int]:
        """Open a cgroup for one `up` or `down` at a time."""
        with self._tree.opened(cgroup) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor

    def _attachments(self, descriptor: int) -> list[Attachment]:
        """Return what of ours is on a cgroup, whole or not, oldest first."""
        found: dict[int, Attachment] = {}
        try:
            for hook, name in PROGRAMS.items():
                for program in self._bpf.attached(descriptor, hook):
                    if program.name != name:
                        continue
                    maps = {one.name: one for one in map(self._bpf.about_map, program.maps)}
                    if CLIENT in maps:
                        one = found.setdefault(maps[CLIENT].id, Attachment())
                        one.programs[hook] = program
                        one.maps |= maps
        except OSError as error:
            raise _refusal("look at the programs of a cgroup", error) from error
        return list(found.values())

    def _attach(
        self, descriptor: int, cgroup: str, build: bytes, trusted: frozenset[Prefix], kinds: Kinds
    ) -> None:
        with self._object() as loaded:
            try:
                self._bpf.update(loaded.map(CONF), _ZERO, _CONF.pack(build, *kinds))
                for prefix in trusted:
                    self._bpf.update(loaded.map(FROM), prefixes.key(prefix), _PRESENT)
            except OSError as error:
                raise _refusal("fill TOA's maps", error) from error
            done: list[Hook] = []
            try:
                for hook, name in PROGRAMS.items():
                    self._bpf.attach(loaded.program(name), descriptor, hook)
                    done.append(hook)
            except OSError as error:
                for hook in done:
                    self._bpf.detach(loaded.program(PROGRAMS[hook]), descriptor, hook)
                raise KernelError(
                    f"attach {name} to cgroup {cgroup}",
                    error,
                    "a program that allows no other may be there: see `bpftool cgroup tree`"
                    if error.errno == errno.EPERM
                    else "see whether the kernel has CONFIG_CGROUP_BPF",
                ) from error

    def _change(self, one: Attachment, trusted: frozenset[Prefix], kinds: Kinds) -> Change:
        """Give an attachment other peers and kinds; new peers come before old ones go."""
        build, before = self._settings(one)
        known = self._trusted(one)
        if (before, known) == (kinds, trusted):
            return "unchanged"
        try:
            with self._bpf.map_opened(one.maps[FROM].id) as table:
                for prefix in trusted - known:
                    self._bpf.update(table, prefixes.key(prefix), _PRESENT)
                for prefix in known - trusted:
                    self._bpf.delete(table, prefixes.key(prefix))
            with self._bpf.map_opened(one.maps[CONF].id) as table:
                self._bpf.update(table, _ZERO, _CONF.pack(build, *kinds))
        except OSError as error:
            raise _refusal("change TOA's maps", error) from error
        return "changed"

    def _detach(self, descriptor: int, one: Attachment) -> None:
        """Detach programs, the one that reads first."""
        try:
            for hook, program in reversed(one.programs.items()):
                with suppress(FileNotFoundError), self._bpf.program_opened(program.id) as opened:
                    self._bpf.detach(opened, descriptor, hook)
        except OSError as error:
            raise _refusal("detach TOA's programs", error) from error

    def _settings(self, one: Attachment) -> tuple[bytes, Kinds]:
        for value in self._items(one, CONF).values():
            build, ipv4, ipv6 = _CONF.unpack(value)
            return build, Kinds(ipv4, ipv6)
        return b"", Kinds()

    def _trusted(self, one: Attachment) -> frozenset[Prefix]:
        return frozenset(map(prefixes.from_key, self._items(one, FROM)))

    def _counts(self, one: Attachment) -> Counts:
        """Add up what all processors counted."""
        values = self._items(one, COUNT).values()
        return Counts(*(sum(n for (n,) in _COUNTER.iter_unpack(value)) for value in values))

    def _items(self, one: Attachment, name: str) -> dict[bytes, bytes]:
        """Return a map's content; of one that an attachment lacks, nothing."""
        if name not in one.maps:
            return {}
        about = one.maps[name]
        size = about.value_size * (self._bpf.processors() if name == COUNT else 1)
        try:
            with self._bpf.map_opened(about.id) as table:
                return self._bpf.items(table, about.key_size, size)
        except OSError as error:
            raise _refusal(f"read the map {name}", error) from error

    def _build(self) -> bytes:
        """Return what tells this object from any other, 8 bytes."""
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()[:8]
        except OSError as error:
            remedy = "run `make bpf`, which needs clang and libbpf-dev"
            raise KernelError(f"read {self._path}", error, remedy) from error

    @contextmanager
    def _object(self) -> Iterator[Object]:
        """Load the programs. Raise KernelError with what the kernel said, PrivilegeError."""
        operation = "load TOA's programs"
        loading = True
        try:
            with self._bpf.loaded(self._path) as loaded:
                loading = False
                yield loaded
        except OSError as error:
            if not loading:
                raise
            if error.errno == errno.EPERM:
                raise _refusal(operation, error) from error
            said = self._bpf.complaint()
            remedy = f"it takes Linux 5.10 with CONFIG_CGROUP_BPF, and this is {platform.release()}"
            raise KernelError(operation, error, f"{remedy}\n{said}" if said else remedy) from error


def _refusal(operation: str, error: OSError) -> KernelError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        remedy = "run lvsd as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF"
        return PrivilegeError(operation, error, remedy)
    if error.errno == errno.EINVAL:
        remedy = f"it takes Linux 5.10 with CONFIG_CGROUP_BPF, and this is {platform.release()}"
        return KernelError(operation, error, remedy)
    return KernelError(operation, error, "see `bpftool cgroup tree` and `dmesg`")
