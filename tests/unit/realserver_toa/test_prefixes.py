"""From whom TOA is believed: what may be said, and how the kernel is told."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import UsageError
from lvsd.realserver.toa import prefixes

if TYPE_CHECKING:
    from lvsd.realserver.toa.prefixes import Prefix


def test_addresses_and_prefixes_may_be_mixed_and_repeated() -> None:
    assert prefixes.parse(["10.0.0.5, 10.0.0.8/29", "2001:db8::/64", "10.0.0.5"]) == {
        ip_network("10.0.0.5"),
        ip_network("10.0.0.8/29"),
        ip_network("2001:db8::/64"),
    }


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert prefixes.parse(["::ffff:10.0.0.8/125"]) == {ip_network("10.0.0.8/29")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "names no address"),
        ([" , "], "names no address"),
        (["10.0.0.256"], "--from 10.0.0.256: not an address"),
        (["10.0.0.5/24"], "10.0.0.5/24 has host bits set"),
        (["director.example"], "not an address"),
        (["0.0.0.0/0"], "every client could name another one"),
        (["::/0"], "every client could name another one"),
        (["::/64"], "every client could name another one"),
        ([",".join(f"10.0.{i >> 8}.{i & 255}" for i in range(1025))], "1025 prefixes"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prefixes.parse(words)


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        (ip_network("10.0.0.5"), (128, "00000000000000000000ffff0a000005")),
        (ip_network("10.0.0.8/29"), (125, "00000000000000000000ffff0a000008")),
        (ip_network("2001:db8::/64"), (64, "20010db8000000000000000000000000")),
    ],
)
def test_a_key_of_the_trie_is_bits_and_address(prefix: Prefix, key: tuple[int, str]) -> None:
    made = prefixes.key(prefix)
    assert (int.from_bytes(made[:4], sys.byteorder), made[4:].hex()) == key
    assert prefixes.from_key(made) == prefix


def test_prefixes_are_listed_in_order_and_addresses_without_a_length() -> None:
    found = prefixes.parse(["2001:db8::5,10.0.0.16/28,10.0.0.5,10.0.0.16/29"])
    assert prefixes.texts(found) == ["10.0.0.5", "10.0.0.16/28", "10.0.0.16/29", "2001:db8::5"]
