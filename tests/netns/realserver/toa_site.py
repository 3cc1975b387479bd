"""A real server behind a FULLNAT director that is made by hand, packet by packet.

::

    director (no stack: its packets are made here) ---- eth0  server 10.9.0.2, 2001:db8:9::2
             10.9.0.5, 10.9.0.6, 2001:db8:9::5
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.layers.l2 import Ether

from lvsd.lab.wait import PATIENCE
from lvsd.realserver.toa.cgroups import tree
from tests.netns.io.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.realserver.toa.cgroups import Tree

PATIENCE_S: Final = 10.0 * PATIENCE
"""How long to wait for what must come, in seconds."""

REPEAT_S: Final = 1.0
"""When nothing has come for so long, the last packet is sent again: a busy machine loses some."""

LIP, OTHER, LIP6 = "10.9.0.5", "10.9.0.6", "2001:db8:9::5"
RIP, RIP6 = "10.9.0.2", "2001:db8:9::2"
CLIENT, CLIENT6 = ("203.0.113.77", 40077), ("2001:db8:77::77", 40077)

_DIRECTOR_MAC, _SERVER_MAC = "02:00:00:00:09:05", "02:00:00:00:09:02"
_HEADER: Final = struct.Struct("!HHIIBBHHH")  # ports, seq, ack, offset, flags, window, sum, urgent
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_MSS: Final = bytes([2, 4, 5, 0xB4])

_lports = itertools.count(20001)


def toa(address: str, port: int, kind: int = 254) -> bytes:
    """Return the option as a director writes it."""
    packed = ip_address(address).packed
    return struct.pack("!BBH", kind, 4 + len(packed), port) + packed


@dataclass
class Site:
    """The server's namespace, and the wire that the director's packets go over."""

    server: Host
    wire: socket.socket
    directors: list[Director] = field(default_factory=list)

    def sysctl(self, name: str, value: int) -> None:
        """Set a sysctl of the server."""
        argv = ["ip", "netns", "exec", self.server.name, "sysctl", "-qw", f"{name}={value}"]
        subprocess.run(argv, check=True)

    def director(self, lip: str = LIP, rport: int = 7000) -> Director:
        """Return one connection of the director to be, to port ``rport`` of the server."""
        rip = RIP if "." in lip else RIP6
        self.directors.append(Director(self.wire, lip, next(_lports), rip, rport))
        return self.directors[-1]

    def repeat(self) -> None:
        """Send the last packet of each connection again."""
        for director in self.directors:
            director.repeat()

    def hang_up(self) -> None:
        """End all connections: one without an owner would keep its cgroup for minutes."""
        while self.directors:
            self.directors.pop().reset()

    def spawn(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program on the server."""
        with self.server.entered():
            return subprocess.Popen(argv, text=True, **options)


@contextlib.contextmanager
def built() -> Iterator[Site]:
    """Build the site; remove it afterwards."""
    names = [f"lvsd-toa-{os.getpid()}-{role}" for role in ("server", "director")]
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        server, director = (Host(name) for name in names)
        server.ip(
            f"link add eth0 address {_SERVER_MAC} type veth peer name eth0 "
            f"address {_DIRECTOR_MAC} netns {director.name}"
        )
        server.ip("link set lo up")
        server.ip("link set eth0 up")
        director.ip("link set eth0 up")
        server.ip(f"address add {RIP}/24 dev eth0")
        server.ip(f"address add {RIP6}/64 dev eth0 nodad")
        for lip in (LIP, OTHER, LIP6):
            server.ip(f"neighbour add {lip} lladdr {_DIRECTOR_MAC} dev eth0 nud permanent")
        with director.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with wire:
            wire.bind(("eth0", 0))
            yield Site(server, wire)
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


@dataclass
class Director:
    """One TCP connection, made by hand; it sends what it is told and remembers what came."""

    wire: socket.socket
    lip: str
    lport: int
    rip: str
    rport: int
    seq: int = 1000
    ack: int = 0
    received: bytes = b""
    ended: bool = False
    last: bytes = b""
    """The frame that was sent last."""

    def open(self, options: bytes = b"", data: bytes = b"") -> None:
        """Shake hands; the last packet has these options and this data."""
        self.syn()
        self.send(data, options)

    def syn(self, options: bytes = b"", data: bytes = b"") -> None:
        """Send a SYN and wait for the answer, which acknowledges the data or does not."""
        self._send(_SYN, _MSS + options, data)
        start = self.seq
        flags, seq, ack, _ = self._next()
        assert flags == _SYN | _ACK, f"the answer to a SYN has flags {flags:#x}"
        self.seq, self.ack = ack, seq + 1
        assert start < ack <= start + 1 + len(data)

    def send(self, data: bytes = b"", options: bytes = b"") -> None:
        """Send an ACK, with data or without."""
        self._send(_ACK | (_PSH if data else 0), options, data)
        self.seq += len(data)

    def read(self, until: bytes) -> bytes:
        """Take and acknowledge data until these bytes are among them; return all that came."""
        while until not in self.received:
            assert not self.ended, f"the connection ended after {self.received!r}"
            flags, seq, _, data = self._next()
            assert not flags & _RST, "the connection was reset"
            if seq == self.ack and (data or flags & _FIN):
                self.received += data
                self.ended = bool(flags & _FIN)
                self.ack += len(data) + self.ended
                self.send()
        return self.received

    def repeat(self) -> None:
        """Send the last packet again. To whom it has come before it says nothing new."""
        if self.last:
            self.wire.send(self.last)

    def reset(self) -> None:
        """End the connection at once."""
        self._send(_RST | _ACK, b"", b"")

    def _send(self, flags: int, options: bytes, data: bytes) -> None:
        assert len(options) % 4 == 0
        words = (_HEADER.size + len(options)) // 4
        fields = (self.lport, self.rport, self.seq, self.ack, words << 4, flags, 0xFFFF)
        segment = _HEADER.pack(*fields, 0, 0) + options + data
        packet, checksum = (
            (IP(src=self.lip, dst=self.rip, proto=6), in4_chksum)
            if "." in self.lip
            else (IPv6(src=self.lip, dst=self.rip, nh=6), in6_chksum)
        )
        segment = _HEADER.pack(*fields, checksum(6, packet, segment), 0) + options + data
        self.last = bytes(Ether(src=_DIRECTOR_MAC, dst=_SERVER_MAC) / packet / segment)
        self.wire.send(self.last)

    def _next(self) -> tuple[int, int, int, bytes]:
        """Wait for the connection's next packet; return flags, seq, ack, data."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if not select.select([self.wire], [], [], REPEAT_S)[0]:
                assert time.monotonic() < deadline, f"nothing came from {self.rip}:{self.rport}"
                self.repeat()
                continue
            frame = Ether(self.wire.recv(1 << 16))
            kind = IP if "." in self.lip else IPv6
            if kind not in frame or (frame[kind].src, frame[kind].dst) != (self.rip, self.lip):
                continue
            packet = bytes(frame[kind])
            ip = frame[kind]
            start, length = (4 * ip.ihl, ip.len) if kind is IP else (40, 40 + ip.plen)
            sport, dport, seq, ack, words, flags, *_ = _HEADER.unpack_from(packet, start)
            if (sport, dport) == (self.rport, self.lport):
                return flags, seq, ack, packet[start + (words >> 4) * 4 : length]


SERVER: Final = """
import json, socket, sys, threading
family, host, port, deferred, fast, protocol = json.loads(sys.argv[1])
listener = socket.socket(family, socket.SOCK_STREAM, protocol)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
if deferred:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
if fast:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
listener.bind((host, port))
listener.listen()
print("ready", flush=True)

def serve(connection):
    while connection.recv(100):
        print(json.dumps(connection.getpeername()[:2]), flush=True)
        connection.sendall(b"seen\\n")

while True:
    connection, accepted = listener.accept()
    report = {"accept": accepted[:2], "getpeername": connection.getpeername()[:2],
              "getsockname": connection.getsockname()[:2]}
    print(json.dumps(report), flush=True)
    threading.Thread(target=serve, args=[connection], daemon=True).start()
"""
"""A server that knows nothing of TOA; it reports each accept(), and getpeername() at any data."""


@dataclass
class Server:
    """`SERVER`, running."""

    process: subprocess.Popen[str]
    site: Site
    pending: bytes = b""

    def says(self) -> Any:
        """Return the next thing that the server reports."""
        return json.loads(self.line())

    def line(self) -> bytes:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self.pending:
            if not select.select([descriptor], [], [], REPEAT_S)[0]:
                assert time.monotonic() < deadline, "the server reports nothing"
                self.site.repeat()
                continue
            data = os.read(descriptor, 1 << 16)
            assert data, "the server has ended"
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return line


@dataclass
class Group:
    """A cgroup of the test's own."""

    tree: Tree
    name: str

    @property
    def procs(self) -> str:
        """The file that takes processes into it; good for child processes, too."""
        return f"/proc/{os.getpid()}/fd/{self.tree.root}{self.name}/cgroup.procs"

    @contextlib.contextmanager
    def server(
        self,
        site: Site,
        family: int = socket.AF_INET,
        host: str = "",
        port: int = 7000,
        *,
        deferred: bool = False,
        fast: bool = False,
        protocol: int = 0,
    ) -> Iterator[Server]:
        """Run a server in the cgroup, on the site's server."""
        what = json.dumps([family, host, port, deferred, fast, protocol])
        enter = f'echo $$ >{self.procs}; exec "$@"'
        argv = ["sh", "-c", enter, "sh", sys.executable, "-c", SERVER, what]
        with site.spawn(argv, stdout=subprocess.PIPE) as process:
            server = Server(process, site)
            try:
                assert server.line() == b"ready"
                yield server
            finally:
                process.kill()
                site.hang_up()


@contextlib.contextmanager
def groups(number: int) -> Iterator[list[Group]]:
    """Make cgroups; remove them, and what is attached to them, afterwards."""
    with tree() as cgroups, contextlib.ExitStack() as stack:
        made = []
        for index in range(number):
            name = f"/lvsd-test-{os.getpid()}-{index}"
            (cgroups.path / name[1:]).mkdir()
            stack.callback(_remove, cgroups, name)
            made.append(Group(cgroups, name))
        yield made


def _remove(cgroups: Tree, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:  # the last process may still be ending
        try:
            (cgroups.path / name[1:]).rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
        else:
            return
