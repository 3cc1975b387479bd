"""One real conversation per case: a TCP connection from SYN to FIN, or some UDP datagrams."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.lab import real_server, settings
from tests.netns.modes.hops import GUE_PORT
from tests.netns.traffic.site import of, table
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from lvsd.lab import Lab, Namespace
    from lvsd.lab.plan import Addresses
    from tests.netns.traffic.site import Family

REQUEST: Final = b"request, as the client wrote it"
REPLY: Final = b"reply, of an odd length"
DATAGRAMS: Final = 5
"""More than those that UOA is told in."""

TOS: Final = {"tcp": 0x28, "udp": 0xB8}
"""AF11 and expedited forwarding (RFC 2597, RFC 3246), as both ends write it."""

IP_MTU_DISCOVER, PMTUDISC_DONT = 10, 0

WAYS: Final = ("nat", "dr", "tun", "tun", "tun", "fullnat")
TUNNELS: Final = ("ipip", "gue", "gre")
"""What the lab's TUN servers take off, in their order."""


@dataclass(frozen=True)
class Case:
    """A way to a real server, the one that is ``number`` in the lab.

    ``kind`` is that of a tunnel, or how FULLNAT tells the client's address. A tunnel that is
    ``mixed`` is of the other family than the packets in it.
    """

    name: str
    way: str
    number: int
    kind: str = ""
    mixed: bool = False
    checksum: bool = False

    @property
    def vport(self) -> int:
        """The virtual port: one of its own, so that packets can be told apart by it."""
        return 7100 + CASES.index(self)

    @property
    def rport(self) -> int:
        """The real server's port: another one where the mode can map it."""
        return self.vport + (1000 if self.way in {"nat", "fullnat"} else 0)

    def server(self, lab: Lab) -> Namespace:
        """Return the real server."""
        return lab.servers[self.number]

    def rip(self, lab: Lab, family: Family) -> str:
        """Return the real server's address, as the director has it."""
        return of(self.server(lab).addresses, other(family) if self.mixed else family)

    def table(self, lab: Lab, family: Family, protocol: str) -> str:
        """Return the ``[[service]]`` of the case."""
        keys: dict[str, object] = {"protocol": protocol, "forward": self.way}
        if self.way == "tun":
            keys["tunnel"] = self.kind
            if self.kind == "gue":
                keys["tunnel_port"] = GUE_PORT
            if self.checksum:
                keys["tunnel_checksum"] = True
        if self.way == "fullnat":
            keys["client_address"] = self.kind
            keys["local_addresses"] = [of(lab.local_addresses[0], family)]
        vip = settings.at(of(lab.vip, family), self.vport)
        servers = {settings.at(self.rip(lab, family), self.rport): 1}
        return table(f"{self.name}-{protocol}-{family}", servers, address=vip, **keys)


CASES: Final = (
    Case("nat", "nat", 0),
    Case("dr", "dr", 1),
    Case("tun-ipip", "tun", 2, "ipip"),
    Case("tun-ipip-mixed", "tun", 2, "ipip", mixed=True),
    Case("tun-gue", "tun", 3, "gue"),
    Case("tun-gue-mixed-checksum", "tun", 3, "gue", mixed=True, checksum=True),
    # Without a checksum: the kernel's own GRE devices drop packets that have one.
    Case("tun-gre", "tun", 4, "gre"),
    Case("tun-gre-mixed", "tun", 4, "gre", mixed=True),
    Case("fullnat-toa", "fullnat", 5, "toa"),
    Case("fullnat-proxy-v2", "fullnat", 5, "proxy-v2"),
    Case("fullnat-none", "fullnat", 5, "none"),
)


def other(family: Family) -> Family:
    """Return the other address family."""
    return "v6" if family == "v4" else "v4"


def prepare(lab: Lab) -> None:
    """Make the lab's real servers what their ways need; TUN's take off one of `TUNNELS` each."""
    tunnels = iter(TUNNELS)
    for space in lab.servers:
        tunnel = next(tunnels) if space.way == "tun" else "ipip"
        port = GUE_PORT if tunnel == "gue" else None
        real_server.up(space, lab.vip, tunnel=tunnel, port=port)


def talk(lab: Lab, case: Case, family: Family, protocol: str) -> None:
    """Have the client and the case's real server talk to each other over the director."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with opened(lab.client, family, kind) as client, opened(case.server(lab), family, kind) as end:
        for sock in (client, end):
            if family == "v4":
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS[protocol])
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, TOS[protocol])
            if family == "v4" and protocol == "udp":
                sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.bind((_bound(lab.vip, case, lab, family), case.rport))
        vip = of(lab.vip, family), case.vport
        if protocol == "tcp":
            end.listen()
            client.connect(vip)
            _exchange(client, end)
        else:
            client.connect(vip)
            for _ in range(DATAGRAMS):
                client.send(REQUEST)
                data, peer = end.recvfrom(2048)
                assert data.endswith(REQUEST)
                end.sendto(REPLY, peer)
                assert client.recv(2048) == REPLY


def _bound(vip: Addresses, case: Case, lab: Lab, family: Family) -> str:
    """Return the address that the server is reached at in its own eyes."""
    return of(vip if case.way in {"dr", "tun"} else case.server(lab).addresses, family)


def _exchange(client: socket.socket, listener: socket.socket) -> None:
    """Send a request and a reply, and close from the client's side."""
    server, _ = listener.accept()
    with server:
        server.settimeout(listener.gettimeout())
        client.send(REQUEST)
        heard = b""
        while not heard.endswith(REQUEST):
            data = server.recv(2048)
            assert data, heard
            heard += data
        server.send(REPLY)
        assert client.recv(2048) == REPLY
        client.shutdown(socket.SHUT_WR)
        assert server.recv(2048) == b""
    assert client.recv(2048) == b""
