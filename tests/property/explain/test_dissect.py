"""No bytes raise, every byte is some field's, and scapy reads the same in good packets."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from lvsd.explain.dissect import dissect, dissect_packet
from lvsd.explain.headers.checksums import checksums
from lvsd.packet.client_address import option_protocol, proxy_header, toa
from lvsd.packet.view import Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, addresses, endpoints, shapes
from tests.unit.explain.checksum_faults import checksum_faults

if TYPE_CHECKING:
    import random

    from lvsd.explain.model import Frame, Layer

EXAMPLES: Final = examples(200)
GUE_PORT: Final = 6080
MACS: Final = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHER: Final = Ether(**MACS)
CLIENT: Final = (bytes((192, 0, 2, 9)), 41000)
CLIENT_6: Final = (bytes(15) + b"\1", 41000)

SEEDS: Final = tuple(
    bytes(ETHER / packet)
    for packet in (
        IP()
        / TCP(
            options=[("MSS", 1460), ("NOP", None), ("SAckOK", b""), (254, toa(*CLIENT, 254)[2:])]
        ),
        IP() / TCP() / Raw(proxy_header(6, CLIENT, CLIENT) + b"GET"),
        IPv6() / UDP() / Raw(proxy_header(17, CLIENT_6, CLIENT_6) + b"\x04\0\1x"),
        IPv6(nh=248) / Raw(option_protocol(*CLIENT_6) + bytes(UDP())),
        IP() / GRE(chksum_present=1) / IPv6() / SCTP() / SCTPChunkData(data=b"hello"),
        IP() / UDP(dport=GUE_PORT) / Raw(b"\1\4\0\0" + bytes(4) + bytes(IP() / UDP())),
        IP() / ICMP(type=3, code=4) / IP() / IP() / TCP(),
        IPv6() / ICMPv6TimeExceeded() / IPv6() / UDP() / Raw(b"quoted"),
        Dot1Q(vlan=1) / IP(flags="MF") / UDP(len=2000) / Raw(bytes(30)),
    )
)
"""Frames to damage: a random change of them comes further than random bytes."""


def gaps(frame: Frame) -> list[str]:
    """Return what is wrong with the places of layers and fields."""
    wrong, at = [], 0
    for layer in frame.layers:
        if layer.at != at:
            wrong.append(f"{layer.name} begins at {layer.at}, not at {at}")
        at += layer.length
        covered = {
            place for field in layer.fields for place in range(field.at, field.at + field.length)
        }
        if covered != set(range(layer.at, at)):
            wrong.append(f"{layer.name} is not what its fields cover")
        if len({field.name for field in layer.fields}) != len(layer.fields):
            wrong.append(f"{layer.name} has two fields of one name")
        if not layer.fields:
            wrong.append(f"{layer.name} has no field")
    if at != len(frame.data):
        wrong.append(f"the layers end at {at} of {len(frame.data)}")
    if len({layer.name for layer in frame.layers}) != len(frame.layers):
        wrong.append("two layers of one name")
    if any("malformed" in layer.name and layer.name != "malformed" for layer in frame.layers):
        wrong.append("what is malformed has a name that nobody looks for")
    return wrong


def check_any(data: bytes) -> None:
    """Check what holds for any bytes; what the packet path refuses is malformed."""
    for frame in (dissect(data, gue_ports=(GUE_PORT,)), dissect_packet(data)):
        assert gaps(frame) == []
        checksum_faults(frame)
    if Packet().load(data):
        assert dissect_packet(data).get("malformed") is not None


@EXAMPLES
@given(st.binary(max_size=200))
def test_no_bytes_raise_and_each_is_a_fields(data: bytes) -> None:
    check_any(data)
    check_any(SEEDS[0][:12] + data)


@EXAMPLES
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
def test_no_damage_raises_and_each_byte_is_a_fields(good: bytes, rng: random.Random) -> None:
    data = bytearray(good)
    for _ in range(rng.randrange(5)):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 4, 0x45, 0x60, 0xFF, rng.randrange(256)))
    frame = bytes(data[: rng.randrange(len(data) + 1)]) if rng.random() < 0.5 else bytes(data)
    check_any(frame)
    check_any(frame[14:])


def test_every_end_of_a_good_frame_is_told_without_a_gap() -> None:
    for good in SEEDS:
        for length in range(len(good) + 1):
            check_any(good[:length])
            check_any(good[14:length])


def test_a_long_chain_of_headers_is_no_chain_of_calls() -> None:
    tags = SEEDS[0][:12] + b"\x81\0\0\1" * 4000
    options = SEEDS[0][:14] + bytes(IP(proto=248) / Raw(b"\x10\xf8\0\4" * 4000))
    for data in (tags, options):
        assert gaps(dissect(data)) == []


def number(layer: Layer, name: str) -> int:
    field = layer.get(name)
    assert field is not None, name
    return int(field.text, 0)


def agree(layer: Layer | None, theirs: Any, fields: dict[str, str]) -> None:
    """Check that a layer's fields have the numbers that scapy reads."""
    assert layer is not None
    ours = {name: number(layer, name) for name in fields}
    assert ours == {name: int(getattr(theirs, attribute)) for name, attribute in fields.items()}


IPV4_FIELDS: Final = {
    "version": "version",
    "total length": "len",
    "identification": "id",
    "TTL": "ttl",
    "header checksum": "chksum",
}
IPV6_FIELDS: Final = {
    "version": "version",
    "flow label": "fl",
    "payload length": "plen",
    "hop limit": "hlim",
}
PORTS: Final = {"source port": "sport", "destination port": "dport"}
TRANSPORT_FIELDS: Final[dict[str, dict[str, str]]] = {
    "TCP": PORTS
    | {
        "sequence number": "seq",
        "acknowledgement number": "ack",
        "reserved": "reserved",
        "window": "window",
        "checksum": "chksum",
        "urgent pointer": "urgptr",
    },
    "UDP": PORTS | {"length": "len", "checksum": "chksum"},
    "SCTP": PORTS | {"verification tag": "tag", "checksum": "chksum"},
}
SCAPY: Final[dict[str, Any]] = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
FLAGS: Final = {
    "F": "FIN",
    "S": "SYN",
    "R": "RST",
    "P": "PSH",
    "A": "ACK",
    "U": "URG",
    "E": "ECE",
    "C": "CWR",
}


def agree_on_ip(layer: Layer | None, theirs: Any) -> None:
    assert layer is not None
    agree(layer, theirs, IPV4_FIELDS if theirs.version == 4 else IPV6_FIELDS)
    tos = theirs.tos if theirs.version == 4 else theirs.tc
    assert number(layer, "DSCP") == tos >> 2
    for name, value in (("source", theirs.src), ("destination", theirs.dst)):
        field = layer.get(name)
        assert field is not None
        assert field.text == str(ip_address(value))
    if theirs.version == 4:
        assert number(layer, "header length") == theirs.ihl * 4
        assert number(layer, "fragment offset") == theirs.frag * 8
        flags = layer.get("flags")
        assert flags is not None
        assert flags.text == (str(theirs.flags).replace("+", " ") or "none")


def agree_on_transport(layer: Layer | None, theirs: Any, name: str) -> None:
    assert layer is not None
    agree(layer, theirs, TRANSPORT_FIELDS[name])
    if name == "TCP":
        flags = layer.get("flags")
        assert flags is not None
        assert flags.text == (" ".join(FLAGS[flag] for flag in str(theirs.flags)) or "none")
        assert number(layer, "data offset") == theirs.dataofs * 4
        assert tcp_options(layer) == [
            option for option in map(option_text, theirs.options) if option
        ]


def tcp_options(layer: Layer) -> list[tuple[str, str]]:
    """Return the options that are more than padding."""
    told = [
        (field.name.removeprefix("option ").rstrip(" 0123456789"), field.text)
        for field in layer.fields
        if field.name.startswith("option ")
    ]
    return [option for option in told if option[0] not in {"NOP", "end"}]


def option_text(option: tuple[Any, Any]) -> tuple[str, str] | None:
    """Return how an option that scapy read is called and told."""
    match option:
        case ("MSS", value):
            return "MSS", str(value)
        case ("WScale", value):
            return "window scale", str(value)
        case ("SAckOK", _):
            return "SACK permitted", "yes"
        case ("Timestamp", (own, echo)):
            return "timestamp", f"{own} echo {echo}"
    return None


@st.composite
def written(draw: st.DrawFn) -> tuple[Shape, bytes]:
    """Return a random packet, and its bytes."""
    shape = draw(shapes())
    ends = draw(endpoints(shape.version)), draw(endpoints(shape.version))
    return shape, shape.write(*ends)


def scapy_ip(data: bytes) -> Any:
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


@EXAMPLES
@given(written(), st.integers(0, 6))
def test_scapy_reads_the_same_in_good_packets(sent: tuple[Shape, bytes], padding: int) -> None:
    shape, packet = sent
    kind = b"\x08\x00" if shape.version == 4 else b"\x86\xdd"
    frame = dissect(SEEDS[0][:12] + kind + packet + bytes(padding))
    assert gaps(frame) == []
    assert frame.get("malformed") is None
    theirs, name = scapy_ip(packet), shape.protocol.upper()
    agree_on_ip(frame.get(f"IPv{shape.version}"), theirs)
    agree_on_transport(frame.get(name), theirs[SCAPY[name]], name)
    assert checksum_faults(frame) == []
    if shape.protocol != "sctp" and shape.payload:
        payload = frame.get("payload") or frame.get("PROXY v2")
        assert payload is not None
        assert frame.data[payload.at :][: payload.length] == shape.payload
    behind = frame.get("padding")
    assert (behind.length if behind else 0) == padding


@EXAMPLES
@given(written(), st.sampled_from(("ipip", "gre", "gue")), st.data())
def test_scapy_reads_the_same_inside_a_tunnel(
    sent: tuple[Shape, bytes], tunnel: str, data: st.DataObject
) -> None:
    shape, packet = sent
    version = data.draw(st.sampled_from((4, 6)))
    source, destination = (str(ip_address(data.draw(addresses(version)))) for _ in "sd")
    outer = (IP if version == 4 else IPv6)(src=source, dst=destination)
    inside = 4 if shape.version == 4 else 41
    between = {
        "ipip": Raw(packet),
        "gre": GRE(proto=0x0800 if shape.version == 4 else 0x86DD, chksum_present=1) / Raw(packet),
        "gue": UDP(dport=GUE_PORT) / Raw(bytes((0, inside, 0, 0)) + packet),
    }[tunnel]
    if tunnel == "ipip":
        outer.setfieldval("proto" if version == 4 else "nh", inside)
    frame = dissect(bytes(ETHER / outer / between), gue_ports=(GUE_PORT,))
    assert gaps(frame) == []
    theirs, name = scapy_ip(packet), shape.protocol.upper()
    agree_on_ip(frame.get(f"inner IPv{shape.version}"), theirs)
    agree_on_transport(frame.get(f"inner {name}"), theirs[SCAPY[name]], name)
    assert checksum_faults(frame) == []


@EXAMPLES
@given(written())
def test_scapy_reads_the_same_in_what_an_error_quotes(sent: tuple[Shape, bytes]) -> None:
    shape, packet = sent
    error = IP() / ICMP(type=11) if shape.version == 4 else IPv6() / ICMPv6TimeExceeded()
    frame = dissect(bytes(ETHER / error / Raw(packet)))
    assert gaps(frame) == []
    theirs, name = scapy_ip(packet), shape.protocol.upper()
    agree_on_ip(frame.get(f"quoted IPv{shape.version}"), theirs)
    agree_on_transport(frame.get(f"quoted {name}"), theirs[SCAPY[name]], name)
    assert checksum_faults(frame) == []
    assert checksums(frame)[-1].whole is None


@EXAMPLES
@given(written(), st.integers(0, 60))
def test_a_quote_may_end_8_bytes_into_its_transport(sent: tuple[Shape, bytes], length: int) -> None:
    shape, packet = sent
    view = Packet()
    assert view.load(packet) is None
    quote = packet[: view.l4 + 8 + length]
    error = IP() / ICMP(type=11) if shape.version == 4 else IPv6() / ICMPv6TimeExceeded()
    frame = dissect(bytes(ETHER / error / Raw(quote)))
    assert gaps(frame) == []
    assert frame.get("malformed") is None
    layer = frame.get(f"quoted {shape.protocol.upper()}")
    assert layer is not None
    assert number(layer, "source port") == view.source_port


@EXAMPLES
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=60))
def test_scapy_reads_the_same_in_an_echo(identifier: int, sequence: int, payload: bytes) -> None:
    for name, packet in (
        ("ICMP", IP() / ICMP(id=identifier, seq=sequence) / Raw(payload)),
        ("ICMPv6", IPv6() / ICMPv6EchoRequest(id=identifier, seq=sequence, data=payload)),
    ):
        frame = dissect(bytes(ETHER / packet))
        layer = frame.get(name)
        assert layer is not None
        assert number(layer, "identifier") == identifier
        assert number(layer, "sequence number") == sequence
        assert checksum_faults(frame) == []
