"""Endpoints in a file: the quick ways of reading and judging one find what the long ones find."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from lvsd.config.fields import _is_ordinary, _unforwardable
from lvsd.packet.address import parse_endpoint

OCTETS = st.one_of(st.integers(0, 300).map(str), st.text("0123456789x ٣", max_size=4), st.just(""))
QUADS = st.lists(OCTETS, min_size=1, max_size=5).map(".".join)


@given(st.one_of(QUADS, st.text("0123456789.:abf\0", max_size=16), st.ip_addresses().map(str)))
@example("010.0.0.1")
@example("10.1")
@example("10.0.0.1\n")
@example("::ffff:10.0.0.1")
def test_an_endpoint_has_the_address_that_ipaddress_reads(host: str) -> None:
    expected = None
    with suppress(ValueError):
        expected = ip_address(host).packed
    found = None
    with suppress(ValueError):
        found, _ = parse_endpoint(f"[{host}]:80" if ":" in host else f"{host}:80")
    assert found == expected


@given(st.one_of(st.ip_addresses(), st.ip_addresses(network="169.0.0.0/8")))
def test_an_ordinary_address_is_one_that_packets_can_be_forwarded_to(address: object) -> None:
    packed = ip_address(address).packed  # type: ignore[arg-type]
    if _is_ordinary(packed):
        assert _unforwardable(ip_address(packed)) is None


def test_the_first_and_last_addresses_that_are_ordinary() -> None:
    ordinary = ("1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0")
    others = ("127.0.0.0", "127.255.255.255", "169.254.0.0", "224.0.0.0", "255.255.255.255")
    assert [each for each in (*ordinary, *others) if _is_ordinary(ip_address(each).packed)] == [
        *ordinary
    ]
    assert all(_unforwardable(ip_address(each)) is None for each in ordinary)
    assert all(_unforwardable(ip_address(each)) is not None for each in others)
    assert _is_ordinary(ip_address("2001:db8::1").packed)
    assert not _is_ordinary(ip_address("::ffff:10.0.0.1").packed)
