"""Attributes there and back, and what is no attribute."""

from __future__ import annotations

from lvsd.io.netlink import attribute, attributes, be16, be32, nested, string


def test_attributes_are_read_back_without_padding_and_flags() -> None:
    body = b"head" + be16(1, 7) + string(2, "lvsd") + nested(3, be32(1, -1)) + attribute(4, b"")
    found = attributes(body, 4)
    assert found == {1: b"\0\x07", 2: b"lvsd\0", 3: be32(1, 0xFFFFFFFF), 4: b""}


def test_reading_stops_at_an_attribute_that_lies_about_its_length() -> None:
    assert attributes(be16(1, 7) + b"\x03\0\x02\0" + be16(3, 7), 0) == {1: b"\0\x07"}
    assert attributes(be16(1, 7) + b"\xff\xff\x02\0ab", 0) == {1: b"\0\x07", 2: b"ab"}
    assert attributes(b"\x08\0", 0) == {}
