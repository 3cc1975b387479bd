"""Fragments that scapy puts together are the packet that was cut."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, defragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6

from lvsd.packet.checksum import checksum
from lvsd.packet.fragment import fragments
from lvsd.packet.view import Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, endpoints, shapes, u32

EXAMPLES = examples(150)
LEAST: Final = {4: 68, 6: 216}
"""An MTU that leaves room behind all the headers that `shapes` draws."""


@EXAMPLES
@given(shapes(max_payload=1000), u32, st.data())
def test_scapy_puts_the_pieces_together(shape: Shape, number: int, data: st.DataObject) -> None:
    whole = unfragmented(shape, data)
    pieces = fragments(whole, mtu(shape, data), number if shape.version == 6 else None)
    assert together(pieces) == whole


@EXAMPLES
@given(shapes(max_payload=1000), u32, st.data())
def test_scapy_puts_pieces_of_pieces_together(
    shape: Shape, number: int, data: st.DataObject
) -> None:
    whole = unfragmented(shape, data)
    large = mtu(shape, data)
    small = data.draw(st.integers(LEAST[shape.version], large))
    own = number if shape.version == 6 else None
    pieces = fragments(whole, large, own)
    smaller = [part for piece in pieces for part in fragments(piece, small, own)]
    assert together(smaller) == whole


@EXAMPLES
@given(shapes(max_payload=600), u32, st.data())
def test_every_piece_fits_and_has_right_headers(
    shape: Shape, number: int, data: st.DataObject
) -> None:
    """Of packets that have fragment headers already, too."""
    limit = mtu(shape, data)
    packet = Packet()
    for piece in fragments(drawn(shape, data), limit, number):
        assert len(piece) <= limit
        assert packet.load(piece, quoted=True) is None
        assert packet.end == len(piece)
        assert shape.version == 6 or checksum(piece[: packet.l4]) == 0


@EXAMPLES
@given(st.sampled_from((0x45, 0x4F, 0x60)), st.binary(min_size=39, max_size=400), u32, st.data())
def test_random_bytes_that_are_a_packet_raise_nothing(
    first: int, rest: bytes, number: int, data: st.DataObject
) -> None:
    raw = bytearray(bytes((first,)) + rest)
    if first == 0x60:
        raw[4:6] = (len(raw) - 40).to_bytes(2, "big")
        raw[6] = data.draw(st.sampled_from((0, 43, 44, 60, 253)))
    else:
        raw[2:4] = len(raw).to_bytes(2, "big")
    if Packet().load(bytes(raw)) is None:
        limit = data.draw(st.integers(68, 400))
        assert all(len(piece) <= limit for piece in fragments(bytes(raw), limit, number))


def drawn(shape: Shape, data: st.DataObject) -> bytes:
    source, destination = (data.draw(endpoints(shape.version)) for _ in range(2))
    return shape.write(source, destination)


def unfragmented(shape: Shape, data: st.DataObject) -> bytes:
    """Return the packet without the DF bit and fragment headers, which do not come back."""
    shape.extensions = [
        header for header in shape.extensions if not isinstance(header, IPv6ExtHdrFragment)
    ]
    if shape.version == 4:
        shape.ip["flags"] = ""
    return drawn(shape, data)


def mtu(shape: Shape, data: st.DataObject) -> int:
    return data.draw(st.integers(LEAST[shape.version], 900))


def together(pieces: list[bytes]) -> bytes:
    """Return what scapy makes of fragments."""
    if len(pieces) == 1:
        return pieces[0]
    if pieces[0][0] >> 4 == 6:
        return bytes(defragment6([IPv6(piece) for piece in pieces]))
    (whole,) = defragment([IP(piece) for piece in pieces])
    return bytes(whole)
