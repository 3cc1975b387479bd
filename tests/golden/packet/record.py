"""Record what kernel IPVS makes of a packet for a real server in a tunnel; `make record` does.

Leaves tunnels.toml here: for each kind of tunnel, and both families outside and inside, a datagram
and the outer packet that it went into. What is random of the latter is 0 (`determined`).
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from tests.golden.packet.determined import determined
from tests.kernel import judge
from tests.kernel.rig import DIRECTOR, server_address
from tests.kernel.scenario import UDP as UDP_NUMBER
from tests.kernel.scenario import (
    Change,
    Operation,
    RealServer,
    Scenario,
    Seen,
    Send,
    Side,
    VirtualService,
)

TARGET = Path(__file__).resolve().parent / "tunnels.toml"
KINDS: list[tuple[Literal["ipip", "gue", "gre"], bool]] = [
    ("ipip", False),
    ("gue", False),
    ("gue", True),
    ("gre", False),
    ("gre", True),
]
GUE_PORT = 6080
FIRST_PORT = 1001
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:c::7"}
VIPS = {4: "192.0.2.10", 6: "2001:db8:f::10"}


class Case(NamedTuple):
    """A tunnel, and the packet that is to go into it."""

    number: int
    kind: Literal["ipip", "gue", "gre"]
    checksum: bool
    outside: int
    inside: int

    @property
    def rip(self) -> str:
        """The end of the tunnel."""
        return server_address(1 + self.number, self.outside)

    @property
    def port(self) -> int:
        """The UDP port of the tunnel's end; 0 for none."""
        return GUE_PORT if self.kind == "gue" else 0

    def datagram(self) -> bytes:
        """Return what the client sends: congestion met, an odd length, no DF."""
        ends = {"src": CLIENTS[self.inside], "dst": VIPS[self.inside]}
        body = UDP(sport=40000, dport=FIRST_PORT + self.number) / Raw(b"\xa5" * 25)
        if self.inside == 4:
            return bytes(IP(**ends, ttl=255, tos=0xBB, id=0x79) / body)
        return bytes(IPv6(**ends, hlim=255, tc=0xBB, fl=0x12345) / body)

    def operations(self) -> list[Operation]:
        """Return what brings the packet into the tunnel."""
        vport = FIRST_PORT + self.number
        service = VirtualService(VIPS[self.inside], vport, UDP_NUMBER, scheduler="rr")
        server = RealServer(
            self.rip,
            vport,
            "tun",
            tunnel=self.kind,
            tunnel_port=self.port,
            tunnel_checksum=self.checksum,
        )
        request = Send(Side.CLIENT, self.datagram())
        return [Change("add", service), Change("add", service, server), request]

    def described(self, after: bytes) -> str:
        """Return the case in TOML, with the packet that left."""
        source = DIRECTOR[Side.SERVER][self.outside == 6]
        checked = " with a checksum" if self.checksum else ""
        return f'''
[[case]]
description = "{self.kind}{checked}, IPv{self.inside} in IPv{self.outside}"
kind = "{self.kind}"
port = {self.port}
checksum = {str(self.checksum).lower()}
source = "{source}"
destination = "{self.rip}"
before = """
{written(self.datagram())}"""
after = """
{written(determined(after))}"""
'''


def written(data: bytes) -> str:
    """Return bytes in hexadecimal, 16 a line."""
    lines = (data[at : at + 16] for at in range(0, len(data), 16))
    return "\n".join(line.hex(" ", -2) for line in lines)


def main() -> None:
    """Ask the kernel, and write down what it did."""
    tunnels = ((*tunnel, *families) for tunnel, families in product(KINDS, product((4, 6), (4, 6))))
    cases = [Case(number, *tunnel) for number, tunnel in enumerate(tunnels)]
    scenarios = [Scenario(f"case {case.number}", tuple(case.operations())) for case in cases]
    verdicts = judge.ask(scenarios, virtual_time=False)
    text = HEAD.format(kernel=verdicts.kernel)
    for case, (*_, observation) in zip(cases, verdicts.observations, strict=True):
        match observation.seen:
            case (Seen(data=after),):
                text += case.described(after)
            case other:
                raise SystemExit(f"{case}: not one packet, but {other}")
    TARGET.write_text(text, "utf-8")


HEAD = """\
# {kernel}; `make record`
# Datagrams, and the outer packets that kernel IPVS put them into, without what is random of those.
"""

if __name__ == "__main__":
    main()
