"""What the recorded listings do not show: large numbers, our own modes, the sort's quirks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest

from forwarders import Tun
from lvsd.control import listing
from lvsd.control.names import Names
from lvsd.control.options import View

if TYPE_CHECKING:
    from lvsd.control.protocol import ServerEntry, ServiceEntry

NUMERIC = Names(numeric=True)
NOTHING = {"connections": 0, "in_packets": 0, "out_packets": 0, "in_bytes": 0, "out_bytes": 0}


def server(address: str = "10.0.0.11", port: int = 80, **changes: object) -> ServerEntry:
    entry = {
        "address": address, "port": port, "forward": "nat", "label": "Masq",
        "tunnel": "", "tunnel_port": 0, "tunnel_checksum": False, "weight": 1,
        "upper": 0, "lower": 0, "active": 0, "inactive": 0, "templates": 0,
        "stats": NOTHING, "rates": NOTHING,
    }  # fmt: skip
    return cast("ServerEntry", entry | changes)


def service(address: str = "192.0.2.10", port: int = 80, **changes: object) -> ServiceEntry:
    entry = {
        "name": "", "protocol": "tcp", "address": address, "port": port, "fwmark": 0,
        "family": 6 if ":" in address else 4, "scheduler": "rr", "flags": [],
        "persistence_s": 0, "prefix": None, "one_packet": False, "local_addresses": [],
        "stats": NOTHING, "rates": NOTHING, "servers": [],
    }  # fmt: skip
    return cast("ServiceEntry", entry | changes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (2**64 - 1, "18446744T"),
    ],
)
def test_large_numbers_are_scaled(value: int, expected: str) -> None:
    assert listing._number(value, exact=False) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, " 100000000"),
        (2**64 - 1, " 18446744073709551615"),
    ],
)
def test_exact_numbers_are_whole(value: int, expected: str) -> None:
    assert listing._number(value, exact=True) == expected


def test_a_real_servers_packet_rates_are_never_scaled() -> None:
    rates = dict.fromkeys(NOTHING, 100_000_000)
    entry = service(rates=rates, servers=[server(rates=rates)])
    lines = list(listing.services([entry], View.RATE, NUMERIC, exact=False))
    assert lines[2:] == [
        "TCP  192.0.2.10:80                 100000K  100000K  100000K  100000K  100000K",
        "  -> 10.0.0.11:80                 100000000 100000000 100000000  100000K  100000K",
    ]


def test_fullnat_has_a_label_of_its_own() -> None:
    entry = service(servers=[server(label="FullNat")])
    lines = list(listing.services([entry], View.PLAIN, NUMERIC, exact=False))
    assert lines[-1] == "  -> 10.0.0.11:80                 FullNat 1      0          0         "


def test_a_tunnel_to_the_director_itself_has_no_tunnel_to_show() -> None:
    entry = service(servers=[server(forward="tun", label="Local", tunnel="ipip")])
    lines = list(listing.services([entry], View.TUNNEL, NUMERIC, exact=False))
    assert lines[-1] == (
        "  -> 10.0.0.11:80                 Local   n/a           1      0          0         "
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"persistence_s": 300, "prefix": 32}, "TCP  192.0.2.10:80 rr persistent 300"),
        ({"persistence_s": 300, "prefix": 0},
         "TCP  192.0.2.10:80 rr persistent 300 mask 0.0.0.0"),
        ({"address": "2001:db8::1", "family": 6, "persistence_s": 9, "prefix": 128},
         "TCP  [2001:db8::1]:80 rr persistent 9"),
        ({"prefix": 24}, "TCP  192.0.2.10:80 rr"),
        ({"flags": ["mh-fallback", "mh-port"], "one_packet": True},
         "TCP  192.0.2.10:80 rr (mh-fallback,mh-port) ops"),
    ],
)  # fmt: skip
def test_flags_follow_the_scheduler(changes: dict[str, object], expected: str) -> None:
    [*_, line] = listing.services([service(**changes)], View.PLAIN, NUMERIC, exact=False)  # type: ignore[arg-type]  # any field of it
    assert line == expected


def test_services_are_sorted_by_mark_family_protocol_address_and_port() -> None:
    expected = [
        service("192.0.2.10", 80),
        service("192.0.2.10", 443),
        service("192.0.2.11", 80),
        service("192.0.2.10", 53, protocol="udp"),
        service("2001:db8::1", 80),
        service("2001:db8::2", 80),
        service("", 0, protocol="ip", fwmark=7),
        service("", 0, protocol="ip", fwmark=7, family=6),
        service("", 0, protocol="ip", fwmark=8),
    ]
    assert listing.in_order(reversed(expected)) == expected


def test_addresses_far_apart_are_sorted_by_a_difference_that_wraps() -> None:
    entry = service(servers=[server("10.0.0.1"), server("192.0.2.1"), server("192.0.2.1", 79)])
    [ordered] = listing.in_order([entry])
    endpoints = [(each["address"], each["port"]) for each in ordered["servers"]]
    assert endpoints == [("192.0.2.1", 79), ("192.0.2.1", 80), ("10.0.0.1", 80)]


def test_an_expiry_beyond_an_hour_is_told_in_minutes() -> None:
    entry = {
        "protocol": "tcp", "state": "ESTABLISHED", "expires_s": 7265,
        "client": "198.51.100.7", "client_port": 4000,
        "virtual": "192.0.2.10", "virtual_port": 80,
        "server": "10.0.0.11", "server_port": 8080,
        "local": "", "local_port": 0, "fwmark": 0, "template": False,
    }  # fmt: skip
    [*_, line] = listing.connections([entry], NUMERIC, with_engine=False)  # type: ignore[list-item]  # it is one
    assert line == "TCP 121:05 ESTABLISHED 198.51.100.7:4000  192.0.2.10:80      10.0.0.11:8080"


def test_a_tunnel_is_known_by_the_label_of_its_forwarder() -> None:
    assert Tun.label == listing.TUNNEL


def test_lvsadm_loads_neither_forwarders_nor_what_makes_dataclasses() -> None:
    code = (
        "import sys, lvsd.control.lvsadm; "
        "print(sorted({'forwarders', 'dataclasses', 'asyncio', 'structlog'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
