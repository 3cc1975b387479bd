"""Hosts for the tests of the kernel side: a client, a director and a server in a row.

::

    client 192.0.2.2 ------- 192.0.2.1 director 10.0.0.1 ------- 10.0.0.2 server
           2001:db8:1::2     2001:db8:1::1      2001:db8:2::1    2001:db8:2::2
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.lab.wait import PATIENCE
from lvsd.net import namespaces
from lvsd.packet.address import pack
from tests.netns.listed_ruleset import listed_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

MTU: Final = 1500
PATIENCE_S: Final = 10.0 * PATIENCE
CLIENT4, CLIENT6 = "192.0.2.2", "2001:db8:1::2"
SERVER4, SERVER6 = "10.0.0.2", "2001:db8:2::2"
TCP, UDP, SCTP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_SCTP

_SIOCSIFMTU = 0x8922  # linux/sockios.h


@dataclass(frozen=True)
class Host:
    """A network namespace."""

    name: str

    def ip(self, command: str) -> None:
        """Run an ``ip`` command inside."""
        subprocess.run(["ip", "-n", self.name, *command.split()], check=True)

    def ips(self, *commands: str) -> None:
        """Run ``ip`` commands inside, by one program."""
        batch = "\n".join(commands)
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=batch, text=True, check=True)

    def entered(self) -> AbstractContextManager[None]:
        """Put this thread inside; sockets opened there stay there."""
        return namespaces.entered(self.name)

    @contextmanager
    def udp(self, address: str, port: int = 0) -> Iterator[socket.socket]:
        """Open a UDP socket on one of the host's addresses."""
        family = socket.AF_INET if len(pack(address)) == 4 else socket.AF_INET6
        with self.entered():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.settimeout(PATIENCE_S)
            sock.bind((address, port))
            yield sock

    @contextmanager
    def raw(self, protocol: int, family: int = socket.AF_INET) -> Iterator[socket.socket]:
        """Open a raw socket."""
        with self.entered():
            sock = socket.socket(family, socket.SOCK_RAW, protocol)
        with sock:
            sock.settimeout(PATIENCE_S)
            yield sock


@dataclass(frozen=True)
class Row:
    """Client, director, server."""

    client: Host
    director: Host
    server: Host

    def set_mtu(self, mtu: int) -> None:
        """Give all four interfaces another MTU."""
        for host, interfaces in (
            (self.client, ("eth0",)),
            (self.director, ("eth0", "eth1")),
            (self.server, ("eth0",)),
        ):
            with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for interface in interfaces:
                    ioctl(sock, _SIOCSIFMTU, struct.pack("=16si20x", interface.encode(), mtu))


@contextmanager
def built() -> Iterator[Row]:
    """Build the row, with a director that forwards; remove it afterwards."""
    names = [f"lvsd-io-{os.getpid()}-{role}" for role in ("client", "director", "server")]
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        row = Row(*(Host(name) for name in names))
        _connect(row.director, "eth0", row.client, "192.0.2", "2001:db8:1")
        _connect(row.director, "eth1", row.server, "10.0.0", "2001:db8:2")
        with row.director.entered():
            for sysctl in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", sysctl).write_text("1", encoding="ascii")
        yield row
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def nft(commands: str) -> None:
    """Run nft commands where this thread is."""
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True)


def ruleset() -> list[dict[str, Any]]:
    """Return the whole ruleset of the namespace that this thread is in."""
    return listed_ruleset()


def comparable(rules: list[dict[str, Any]]) -> list[str]:
    """Return a ruleset without handles, and with the elements of sets in order."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: sorted(map(str, each)) if key == "elem" else stripped(each)
                for key, each in value.items()
                if key != "handle"
            }
        return [stripped(each) for each in value] if isinstance(value, list) else value

    return [str(stripped(entry)) for entry in rules]


def _connect(director: Host, interface: str, host: Host, ipv4: str, ipv6: str) -> None:
    director.ip(f"link add {interface} type veth peer name eth0 netns {host.name}")
    for end, name, number in ((director, interface, 1), (host, "eth0", 2)):
        end.ips(
            f"address add {ipv4}.{number}/24 dev {name}",
            f"address add {ipv6}::{number}/64 dev {name} nodad",
            f"link set {name} up",
            "link set lo up",
        )
    host.ips(f"route add default via {ipv4}.1", f"route add default via {ipv6}::1")
