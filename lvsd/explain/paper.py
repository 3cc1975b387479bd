"""The network on paper that a connection is followed through: that of ``lvsd lab`` (`places`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain import places
from lvsd.explain.dissect import dissect
from lvsd.explain.model import Host, role_of
from lvsd.explain.trail import MACS, framed
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from lvsd.explain.case import Case
    from lvsd.explain.model import Frame

FRONT: Final = {4: "192.0.2.{}", 6: "2001:db8:1::{}"}
BACK: Final = {4: "10.0.0.{}", 6: "fd00:10::{}"}
FAR: Final = {4: "10.1.0.{}", 6: "fd00:11::{}"}
DIRECTOR: Final = 1
ROUTER: Final = 254

FRONT_INDEX, BACK_INDEX = 1, 2
"""Interface indexes of the director's."""

MTU: Final = 1500


class PaperNetwork:
    """Who is there, under which addresses and MACs; makes frames and hops of packets."""

    def __init__(self, case: Case) -> None:
        version = case.version
        server_version = 4 if len(case.servers[0].address) == 4 else 6
        self.routed = case.mode != "nat"
        self.gue_ports = (getattr(case.forwarder, "port", 0),)
        self.source = case.local if case.mode == "fullnat" else _address(BACK, server_version)
        """The director's address towards the real servers."""
        self.front = _address(FRONT, version)
        """The director's address towards the client."""
        director = {"front": self.front, "back": self.source}
        spaces: dict[str, dict[str, bytes]] = {
            "client": {"eth0": case.client[0]},
            "director": director,
        }
        if self.routed:
            spaces["router"] = {
                "front": _address(FRONT, version, ROUTER),
                "back": _address(BACK, server_version, ROUTER),
            }
            if case.mode in places.FAR:
                spaces["router"]["far"] = _address(FAR, server_version, ROUTER)
        for number, server in enumerate(case.servers, 1):
            spaces[f"server{number}"] = {"eth0": server.address}
        self._macs = {
            (host, interface): _mac(address)
            for host, interfaces in spaces.items()
            for interface, address in interfaces.items()
        }
        self.hosts = tuple(
            Host(
                host,
                role_of(host),
                tuple(
                    (interface, text(address), self._macs[host, interface].hex(":"))
                    for interface, address in interfaces.items()
                ),
            )
            for host, interfaces in spaces.items()
        )

    def frame(self, packet: bytes, sender: tuple[str, str], receiver: tuple[str, str]) -> Frame:
        """Return a packet in a frame from one (host, interface) to another, taken apart."""
        macs = self._macs[receiver] + self._macs[sender]
        return dissect(framed(macs, packet), gue_ports=self.gue_ports)

    def inside(self, frame: Frame, packet: bytes) -> Frame:
        """Return what a tunnel's packet held, behind the Ethernet header that it came with."""
        return dissect(framed(frame.data[MACS], packet))


def _address(network: dict[int, str], version: int, number: int = DIRECTOR) -> bytes:
    return pack(network[version].format(number))


def _mac(address: bytes) -> bytes:
    """Return a MAC, locally administered, that shows the end of the address behind it.

    The lab's are the same over IPv4. Over IPv6 the second byte tells networks apart.
    """
    network = 0
    for byte in address[2:8] if len(address) == 16 else b"":
        network ^= byte
    return bytes((2, network)) + address[-4:]
