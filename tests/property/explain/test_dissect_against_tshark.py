"""tshark reads in a file of ours what we read in its frames, and finds the same checksums right."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from lvsd.explain.captures.pcap import write
from lvsd.explain.dissect import dissect
from lvsd.explain.headers.checksums import checksums

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.explain.model import Frame

SEED: Final = 7
PACKETS: Final = 300
START_S: Final = 1_700_000_000.0

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed (apt install tshark)"
)

FIELDS: Final = {
    "eth.src": ("Ethernet", "source"),
    "eth.dst": ("Ethernet", "destination"),
    "vlan.id": ("802.1Q", "VLAN"),
    "ip.dsfield.dscp": ("IPv4", "DSCP"),
    "ip.len": ("IPv4", "total length"),
    "ip.id": ("IPv4", "identification"),
    "ip.ttl": ("IPv4", "TTL"),
    "ip.checksum": ("IPv4", "header checksum"),
    "ip.src": ("IPv4", "source"),
    "ip.dst": ("IPv4", "destination"),
    "ipv6.flow": ("IPv6", "flow label"),
    "ipv6.plen": ("IPv6", "payload length"),
    "ipv6.hlim": ("IPv6", "hop limit"),
    "ipv6.src": ("IPv6", "source"),
    "ipv6.dst": ("IPv6", "destination"),
    "tcp.srcport": ("TCP", "source port"),
    "tcp.dstport": ("TCP", "destination port"),
    "tcp.seq_raw": ("TCP", "sequence number"),
    "tcp.ack_raw": ("TCP", "acknowledgement number"),
    "tcp.hdr_len": ("TCP", "data offset"),
    "tcp.window_size_value": ("TCP", "window"),
    "tcp.checksum": ("TCP", "checksum"),
    "tcp.urgent_pointer": ("TCP", "urgent pointer"),
    "tcp.options.mss_val": ("TCP", "option MSS"),
    "tcp.options.wscale.shift": ("TCP", "option window scale"),
    "udp.srcport": ("UDP", "source port"),
    "udp.dstport": ("UDP", "destination port"),
    "udp.length": ("UDP", "length"),
    "udp.checksum": ("UDP", "checksum"),
    "sctp.srcport": ("SCTP", "source port"),
    "sctp.verification_tag": ("SCTP", "verification tag"),
    "sctp.checksum": ("SCTP", "checksum"),
    "icmp.ident": ("ICMP", "identifier"),
    "icmp.checksum": ("ICMP", "checksum"),
    "icmpv6.echo.sequence_number": ("ICMPv6", "sequence number"),
    "icmpv6.checksum": ("ICMPv6", "checksum"),
}
"""What tshark calls a field, and what it is with us. Both mean the outermost of that name."""

STATUS: Final = {
    "ip.checksum.status": "IPv4",
    "tcp.checksum.status": "TCP",
    "udp.checksum.status": "UDP",
    "sctp.checksum.status": "SCTP",
    "icmp.checksum.status": "ICMP",
    "icmpv6.checksum.status": "ICMPv6",
}
GOOD: Final = "1"


def frame_of(rng: random.Random) -> bytes:
    """Return a random frame; now and then one of its checksums is wrong."""
    wrong = {"chksum": rng.randrange(1, 0x10000)} if rng.random() < 0.2 else {}
    ports = {"sport": rng.randrange(20000, 30000), "dport": rng.randrange(20000, 30000)}
    options = [("MSS", rng.randrange(0x10000)), ("NOP", None), ("WScale", rng.randrange(15))]
    numbers = {
        "seq": rng.getrandbits(32),
        "ack": rng.getrandbits(32),
        "window": rng.getrandbits(16),
    }
    tcp = TCP(**ports, **numbers, **wrong, options=options[: rng.randrange(4)], flags="SA")
    tcp.urgptr = rng.getrandbits(16)
    data = Raw(rng.randbytes(rng.randrange(60)))
    ethernet: Any = Ether(src=mac(rng), dst=mac(rng))
    if rng.random() < 0.2:
        ethernet /= Dot1Q(vlan=rng.randrange(4096))
    if rng.random() < 0.5:
        ends = {
            name: ".".join(str(rng.randrange(1, 224)) for _ in range(4)) for name in ("src", "dst")
        }
        ip: Any = IP(
            **ends, tos=rng.randrange(256), id=rng.getrandbits(16), ttl=rng.randrange(1, 256)
        )
        echo = ICMP(id=rng.getrandbits(16), seq=3, **wrong) / data
    else:
        ends = {name: f"2001:db8::{rng.getrandbits(16):x}" for name in ("src", "dst")}
        ip = IPv6(**ends, fl=rng.getrandbits(20), hlim=rng.randrange(1, 256), tc=rng.randrange(256))
        echo = ICMPv6EchoRequest(seq=rng.getrandbits(16), data=bytes(data))
    sctp = SCTP(**ports, tag=rng.getrandbits(32)) / SCTPChunkData(data=bytes(data))
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(**ports) / data
    transport = rng.choice(
        [tcp / data, UDP(**ports, **wrong) / data, echo, sctp, inner, GRE() / inner]
    )
    return bytes(ethernet / ip / transport)


def mac(rng: random.Random) -> str:
    return bytes((2, *rng.randbytes(5))).hex(":")


def written(path: Path) -> list[bytes]:
    """Write random frames to a file, and return them."""
    rng = random.Random(SEED)
    frames = [frame_of(rng) for _ in range(PACKETS)]
    with path.open("wb") as file:
        write(file, ((START_S + number / 8, data) for number, data in enumerate(frames)))
    return frames


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Return what tshark says of some fields, a list for each frame."""
    checked = [f"{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp")]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    for option in (*checked, "sctp.checksum:crc-32c"):
        command += ["-o", option]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def outermost(frame: Frame, layer: str, field: str) -> str:
    """Return a field of the first layer of that name, at whatever depth; nothing without one."""
    for one in frame.layers:
        if one.name.split()[-1] == layer and (found := one.get(field)):
            return found.text
    return ""


def same(value: str) -> str:
    """Return a value with its number, if it is one, in one way of writing."""
    try:
        return str(int(value, 0))
    except ValueError:
        return value


def test_tshark_reads_the_same_in_a_file_of_ours(tmp_path: Path) -> None:
    frames = written(tmp_path / "ours.pcap")
    rows = tshark(tmp_path / "ours.pcap", "frame.time_epoch", *FIELDS)
    assert len(rows) == PACKETS
    for number, (data, (time, *theirs)) in enumerate(zip(frames, rows, strict=True)):
        assert float(time) == START_S + number / 8
        frame = dissect(data)
        ours = {name: same(outermost(frame, *place)) for name, place in FIELDS.items()}
        assert ours == dict(zip(FIELDS, map(same, theirs), strict=True)), data.hex()


def test_tshark_finds_the_same_checksums_right(tmp_path: Path) -> None:
    frames = written(tmp_path / "ours.pcap")
    rows = tshark(tmp_path / "ours.pcap", *STATUS)
    wrong = 0
    for data, theirs in zip(frames, rows, strict=True):
        ours = {
            one.layer.split()[-1]: one.value == one.whole
            for one in reversed(checksums(dissect(data)))
        }
        said = {
            name: status == GOOD
            for name, status in zip(STATUS.values(), theirs, strict=True)
            if status
        }
        assert ours == said, data.hex()
        wrong += not all(ours.values())
    assert wrong > PACKETS // 20
