"""Captured packets that are not a connection's plain own: errors, IPsec, pieces, tags, cut ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from lvsd.explain import explain, explain_capture
from lvsd.explain.captures import pcap

if TYPE_CHECKING:
    from pathlib import Path

    from scapy.packet import Packet

    from lvsd.explain.captured import Seen

SERVICE = """\
[[service]]
name = "web"
address = "{vip}:{port}"
protocol = "{protocol}"
forward = "{mode}"
{more}
[[service.server]]
address = "{rip}:{rport}"
"""

VIPS = {4: "198.51.100.10", 6: "[2001:db8:51::10]"}
RIPS = {4: "10.0.0.11", 6: "[fd00:10::11]"}
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
LOCALS = {4: "10.0.0.2", 6: "fd00:10::2"}


def seen(
    path: Path,
    frames: list[bytes],
    *,
    mode: str,
    version: int = 4,
    protocol: str = "tcp",
    port: int = 80,
) -> list[Seen]:
    """Return what becomes of frames at the director of one service with one server."""
    config = path / "lvsd.toml"
    config.write_text(
        SERVICE.format(
            vip=VIPS[version],
            rip=RIPS[version],
            port=port,
            rport=port,
            protocol=protocol,
            mode=mode,
            more=f'local_addresses = ["{LOCALS[version]}"]' if mode == "fullnat" else "",
        )
    )
    with (path / "in.pcap").open("wb") as file:
        pcap.write(file, enumerate(frames))
    return list(explain_capture(path / "in.pcap", config))


def unknown(found: list[Seen]) -> list[str]:
    """Return the fields that changed, and that nobody answers for."""
    return [
        f"{each.number}: {change.layer} {change.field}"
        for each in found
        for hop in each.journey.hops
        for change in hop.changes
        if change.cause.kind == "unknown"
    ]


def syn(mode: str, version: int = 4) -> bytes:
    told = explain(mode, ipv6=version == 6, servers=[f"{RIPS[version]}:80"])
    return told.journeys[0].hops[1].frame.data


def arrived(found: Seen) -> Packet:
    return Ether(found.journey.hops[-1].frame.data).payload


def error_about(packet: Packet, source: str) -> bytes:
    """Return a router's error about a packet, to who sent it."""
    if IP in packet:
        head = IP(src=source, dst=packet[IP].src) / ICMP(type=3, code=4, nexthopmtu=1400)
    else:
        head = IPv6(src=source, dst=packet[IPv6].src) / ICMPv6PacketTooBig(mtu=1400)
    return bytes(Ether(**MACS) / head / Raw(bytes(packet)))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", ["nat", "fullnat"])
def test_an_icmp_error_goes_its_connections_way_and_every_change_has_a_cause(
    tmp_path: Path, mode: str, version: int
) -> None:
    first = syn(mode, version)
    (opening,) = seen(tmp_path, [first], mode=mode, version=version)
    sent = arrived(opening)
    rip = RIPS[version].strip("[]")
    found = seen(tmp_path, [first, error_about(sent, rip)], mode=mode, version=version)
    assert found[1].journey.outcome.startswith("The director sends it on")
    assert found[1].plan == opening.plan
    assert found[1].journey.direction == "reply"
    changed = {change.layer for hop in found[1].journey.hops for change in hop.changes}
    assert f"quoted IPv{version}" in changed
    assert unknown(found) == []


@pytest.mark.parametrize("version", [4, 6])
def test_an_icmp_error_about_a_tunnel_is_kept_and_told_to_the_client(
    tmp_path: Path, version: int
) -> None:
    first = syn("tun", version)
    (opening,) = seen(tmp_path, [first], mode="tun", version=version)
    source = "10.0.0.254" if version == 4 else "fd00:10::fe"
    error = error_about(arrived(opening), source)
    found = seen(tmp_path, [first, error], mode="tun", version=version)
    assert found[1].journey.outcome == (
        "The director keeps it: it is about the tunnel. The client is told by ICMP."
    )


def test_ipsec_follows_the_key_exchange(tmp_path: Path) -> None:
    ends = {"src": "192.0.2.100", "dst": "198.51.100.10"}
    exchange = Ether(**MACS) / IP(**ends) / UDP(sport=500, dport=500) / Raw(b"keys")
    esp = Ether(**MACS) / IP(**ends, proto=50) / Raw(bytes(40))
    back = Ether(**MACS) / IP(src="10.0.0.11", dst="192.0.2.100", proto=50) / Raw(bytes(40))
    frames = [bytes(each) for each in (exchange, esp, back)]
    found = seen(tmp_path, frames, mode="nat", protocol="udp", port=500)
    assert [arrived(each)[IP].dst for each in found] == ["10.0.0.11", "10.0.0.11", "192.0.2.100"]
    assert arrived(found[2])[IP].src == "198.51.100.10"
    assert [each.journey.direction for each in found] == ["request", "request", "reply"]
    assert unknown(found) == []


@pytest.mark.parametrize("mode", ["dr", "tun"])
def test_a_packet_that_is_cut_says_so_of_every_piece(tmp_path: Path, mode: str) -> None:
    long = Ether(**MACS) / IP(src="192.0.2.100", dst="198.51.100.10") / UDP(sport=4000, dport=53)
    (found,) = seen(tmp_path, [bytes(long / Raw(bytes(3000)))], mode=mode, protocol="udp", port=53)
    sent = found.journey.hops[1:]
    assert len(sent) > 1
    causes = {change.cause.text for hop in sent for change in hop.changes}
    assert "the packet is cut to fit its way" in causes
    assert unknown([found]) == []


def test_a_vlans_tag_and_a_frames_padding_stay_behind(tmp_path: Path) -> None:
    inside = Ether(syn("nat"))
    tagged = Ether(**MACS) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / inside.payload
    padded = syn("nat") + bytes(6)
    for frame in (bytes(tagged), padded):
        (found,) = seen(tmp_path, [frame], mode="nat")
        assert found.journey.outcome.startswith("The director sends it on")
        assert unknown([found]) == []


def test_a_packet_that_the_capture_cut_off_is_not_guessed_at(tmp_path: Path) -> None:
    syn_bytes = syn("nat")
    seen(tmp_path, [syn_bytes], mode="nat")
    whole = (tmp_path / "in.pcap").read_bytes()
    kept = (40).to_bytes(4, "little")
    (tmp_path / "in.pcap").write_bytes(whole[:32] + kept + whole[36:80])
    (found,) = explain_capture(tmp_path / "in.pcap", tmp_path / "lvsd.toml")
    assert found.journey.outcome == (
        f"The capture has not all of its {len(syn_bytes)} bytes, which lvsd would see: "
        "take it with tcpdump -s 0."
    )


def test_what_is_no_good_packet_is_dropped_if_it_is_ours_and_goes_by_if_not(tmp_path: Path) -> None:
    broken, other = bytearray(syn("nat")), bytearray(syn("nat"))
    broken[46] = other[46] = 0x10  # TCP's data offset: 4 bytes
    other[33] = 99  # the destination
    found = seen(tmp_path, [bytes(broken), bytes(other)], mode="nat")
    assert [each.journey.outcome for each in found] == [
        "The director drops it: it is no good packet (malformed).",
        "No rule of lvsd's diverts it: it goes by.",
    ]


def test_a_tcp_segment_that_the_card_would_cut_takes_no_longer_than_others(tmp_path: Path) -> None:
    opening = Ether(syn("nat"))
    opening.payload.flags = 0
    del opening[IP].len, opening[IP].chksum, opening["TCP"].chksum
    (found,) = seen(tmp_path, [bytes(opening / Raw(b"x" * 60_000))], mode="nat")
    assert [one.layer for one in found.journey.sums] == ["IPv4", "TCP"]
    assert len(found.journey.sums[1].words) < 10
