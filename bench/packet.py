"""What the packet layer costs: parse with key, and rewrite, in nanoseconds a packet.

Run as ``python -m bench.packet``. Each figure is the best of several runs: what the code costs,
not what else the machine did.
"""

from __future__ import annotations

from functools import partial
from timeit import repeat
from typing import TYPE_CHECKING, Final

from forwarders.plan import SetDestination
from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum, crc32c, pseudo_header
from lvsd.packet.rewrite import Change, compile_steps, edit
from lvsd.packet.view import SCTP, TCP, UDP, Packet

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS: Final = 7
PACKETS_PER_RUN: Final = 20_000

ENDS: Final = {
    4: (pack("198.51.100.7"), pack("192.0.2.10"), pack("10.0.0.11")),
    6: (pack("2001:db8::7"), pack("2001:db8::10"), pack("fd00::11")),
}
CPORT: Final = 40000
VPORT: Final = 80
RPORT: Final = 8080


def build(version: int, protocol: int, size: int, options: bytes = b"") -> bytes:
    """Return a packet from client to VIP of ``size`` bytes in all."""
    cip, vip, _ = ENDS[version]
    l4 = (20 if version == 4 else 40) + len(options)
    ports = CPORT.to_bytes(2, "big") + VPORT.to_bytes(2, "big")
    rest = {
        TCP: bytes(8) + b"\x50\x10\x20\x00" + bytes(4),
        UDP: (size - l4).to_bytes(2, "big") + bytes(2),
        SCTP: bytes(8) + b"\x00\x03" + (size - l4 - 12).to_bytes(2, "big"),
    }[protocol]
    segment = bytearray((ports + rest).ljust(size - l4, b"\xa5"))
    if protocol == SCTP:
        segment[8:12] = crc32c(bytes(segment))
    else:
        at = 16 if protocol == TCP else 6
        carry = pseudo_header(cip, vip, protocol, len(segment))
        segment[at : at + 2] = checksum(segment, carry).to_bytes(2, "big")
    if version == 6:
        start = b"\x60\x00\x00\x00" + len(segment).to_bytes(2, "big") + bytes((protocol, 64))
        return start + cip + vip + segment
    header = bytearray((0x40 | l4 >> 2, 0, *size.to_bytes(2, "big"), 0, 1, 0x40, 0, 64, protocol))
    header += bytes(2) + cip + vip + options
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header + segment)


def nanoseconds(call: Callable[[], object]) -> float:
    """Return what one call costs at best."""
    return min(repeat(call, number=PACKETS_PER_RUN, repeat=RUNS)) / PACKETS_PER_RUN * 1e9


def main() -> None:
    """Measure and print a table."""
    no_operations = bytes((1, 1, 1, 0))
    cases = {
        "IPv4 TCP, 64 bytes": build(4, TCP, 64),
        "IPv4 TCP, 1500 bytes": build(4, TCP, 1500),
        "IPv4 TCP, 9000 bytes": build(4, TCP, 9000),
        "IPv4 TCP with IP options": build(4, TCP, 1500, no_operations),
        "IPv4 UDP, 1500 bytes": build(4, UDP, 1500),
        "IPv4 SCTP, 1500 bytes": build(4, SCTP, 1500),
        "IPv6 TCP, 1500 bytes": build(6, TCP, 1500),
        "IPv6 UDP, 1500 bytes": build(6, UDP, 1500),
    }
    print(f"{'ns a packet':28} {'load + key':>10} {'rewrite':>10} {'general way':>12}")
    for name, data in cases.items():
        packet = Packet()
        packet.load(data)
        _, vip, rip = ENDS[packet.version]
        rewrite = compile_steps(
            (SetDestination(rip, RPORT),), packet.protocol, destination=(vip, VPORT)
        )
        change = Change.between(packet.protocol, None, ((vip, VPORT), (rip, RPORT)))
        figures = (
            nanoseconds(partial(packet.load, data)),
            nanoseconds(partial(rewrite, packet)),
            nanoseconds(partial(edit, packet, change)),
        )
        print(f"{name:28} {figures[0]:10.0f} {figures[1]:10.0f} {figures[2]:12.0f}")


if __name__ == "__main__":
    main()
