"""An outer packet without what is left to chance, so that two of them can be compared."""

from __future__ import annotations

from tests.kernel.packets import UDP, checksum


def determined(packet: bytes) -> bytes:
    """Return a packet with IPv4's identification and UDP's source port 0, right checksums.

    The one is random, the other, in GUE, a hash with a secret. Raise AssertionError if a checksum
    was wrong. Options and extension headers are not looked for.
    """
    if packet[0] >> 4 == 4:
        assert checksum(packet[:20]) == 0
        unchecked = packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:20]
        header = unchecked[:10] + checksum(unchecked).to_bytes(2) + unchecked[12:]
        protocol, addresses, payload = packet[9], packet[12:20], packet[20:]
    else:
        header = packet[:40]
        protocol, addresses, payload = packet[6], packet[8:40], packet[40:]
    if protocol == UDP:
        pseudo = addresses + len(payload).to_bytes(4) + protocol.to_bytes(4)
        payload = _without_source_port(pseudo, payload)
    return header + payload


def _without_source_port(pseudo: bytes, datagram: bytes) -> bytes:
    unchecked = bytes(2) + datagram[2:6] + bytes(2) + datagram[8:]
    if not any(datagram[6:8]):
        return unchecked
    assert checksum(pseudo + datagram) == 0
    return unchecked[:6] + checksum(pseudo + unchecked).to_bytes(2) + unchecked[8:]
