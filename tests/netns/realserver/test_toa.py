"""Unmodified servers see the client that TOA names, and only where it may name one."""

from __future__ import annotations

import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.realserver.toa.cgroups import tree
from lvsd.realserver.toa.cli import main
from lvsd.realserver.toa.reader import Counts, Reader
from tests.netns.realserver.toa_site import (
    CLIENT,
    CLIENT6,
    LIP,
    LIP6,
    OTHER,
    RIP,
    RIP6,
    Group,
    Site,
    built,
    groups,
    toa,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MPTCP = 262
TIMESTAMPS = bytes([8, 10, 0, 0, 0, 1, 0, 0, 0, 0])
FASTOPEN_WITHOUT_COOKIE = 0x202
"""Clients and servers of TCP Fast Open, the latter not asking for a cookie (tcp_fastopen)."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have one site for all tests: no test changes it for good."""
    with built() as site:
        yield site


@pytest.fixture
def group() -> Iterator[Group]:
    """Have an empty cgroup."""
    with groups(1) as (group,):
        yield group


def up(group: Group, *words: str, trusted: str = f"{LIP},{LIP6}") -> None:
    assert main(["up", "--from", trusted, "--cgroup", group.name, *words]) == 0


def counts(group: Group) -> Counts:
    """Return what was counted for a cgroup."""
    with tree() as cgroups:
        return {one.cgroup: one.counts for one in Reader(cgroups).status()}[group.name]


def seen(who: tuple[str, int], where: str, rport: int = 7000) -> dict[str, Any]:
    """Return the report of a server that was asked on ``where`` by ``who``."""
    return {"accept": [*who], "getpeername": [*who], "getsockname": [where, rport]}


def mapped(who: tuple[str, int]) -> tuple[str, int]:
    return f"::ffff:{who[0]}", who[1]


@pytest.mark.parametrize(
    ("family", "host", "lip", "client", "expected"),
    [
        (socket.AF_INET, RIP, LIP, CLIENT, seen(CLIENT, RIP)),
        (socket.AF_INET6, RIP6, LIP6, CLIENT6, seen(CLIENT6, RIP6)),
        (socket.AF_INET6, "::", LIP, CLIENT, seen(mapped(CLIENT), f"::ffff:{RIP}")),
        (socket.AF_INET6, "::", LIP6, CLIENT6, seen(CLIENT6, RIP6)),
        (socket.AF_INET6, "::", LIP, CLIENT6, seen(CLIENT6, f"::ffff:{RIP}")),
        (socket.AF_INET6, "::", LIP6, CLIENT, seen(mapped(CLIENT), RIP6)),
    ],
    ids=["v4", "v6", "v4 on dual", "v6 on dual", "v6 over v4 on dual", "v4 over v6 on dual"],
)
def test_accept_and_getpeername_name_the_client(
    site: Site,
    group: Group,
    family: int,
    host: str,
    lip: str,
    client: tuple[str, int],
    expected: dict[str, Any],
) -> None:
    up(group)
    with group.server(site, family, host) as server:
        site.director(lip).open(toa(*client))

        assert server.says() == expected
    assert counts(group) == Counts(read=1)


@pytest.mark.parametrize(
    "options",
    [
        bytes([1, 1]) + TIMESTAMPS + toa(*CLIENT),
        bytes([1]) * 4 + toa(*CLIENT) + TIMESTAMPS + bytes([1, 1]),
        bytes([1]) * 32 + toa(*CLIENT),
        toa(*CLIENT) + toa("198.51.100.1", 1),
    ],
    ids=["after timestamps", "between", "at the very end", "the first of two"],
)
def test_the_option_is_found_wherever_it_stands(site: Site, group: Group, options: bytes) -> None:
    up(group)
    with group.server(site) as server:
        site.director().open(options)

        assert server.says() == seen(CLIENT, RIP)


@pytest.mark.parametrize(
    ("words", "kind", "kind_v6"),
    [(["--kind", "200"], 200, 200), (["--kind-v6", "253"], 254, 253)],
)
def test_the_kind_is_the_directors_choice(
    site: Site, group: Group, words: list[str], kind: int, kind_v6: int
) -> None:
    up(group, *words)
    with group.server(site, socket.AF_INET6, "::") as server:
        site.director().open(toa(*CLIENT, kind))
        assert server.says() == seen(mapped(CLIENT), f"::ffff:{RIP}")
    with group.server(site, socket.AF_INET6, "::") as server:
        site.director(LIP6).open(toa(*CLIENT6, kind_v6))
        assert server.says() == seen(CLIENT6, RIP6)


def test_who_is_no_local_address_of_the_director_is_not_believed(site: Site, group: Group) -> None:
    up(group)
    with group.server(site) as server:
        forger = site.director(OTHER)
        forger.open(toa(*CLIENT))

        assert server.says() == seen((OTHER, forger.lport), RIP)
    assert counts(group) == Counts(untrusted=1)


@pytest.mark.parametrize(("trusted", "read"), [("10.9.0.4/31", 1), ("10.9.0.6/31", 0)])
def test_a_prefix_trusts_all_in_it_and_nobody_else(
    site: Site, group: Group, trusted: str, read: int
) -> None:
    up(group, trusted=trusted)
    with group.server(site) as server:
        site.director().open(toa(*CLIENT))
        server.says()
    assert counts(group).read == read


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        (bytes([254, 4, 0x9C, 0x8D]), Counts(malformed=1)),
        (bytes([254, 12, *toa(*CLIENT)[2:], 0, 0, 0, 0]), Counts(malformed=1)),
        (bytes([254, 20, *toa(*CLIENT)[2:]]), Counts(malformed=1)),
        (toa(CLIENT[0], 0), Counts(malformed=1)),
        (toa("0.0.0.0", 40077), Counts(malformed=1)),  # noqa: S104 - nothing is bound to it
        (toa("::", 40077), Counts(malformed=1)),
        (bytes([254, 0, 0, 0]), Counts(absent=1)),
        (bytes([1, 1, 1, 254]), Counts(absent=1)),
        (bytes([8, 40, 0, 0]) + toa(*CLIENT), Counts(absent=1)),
        (bytes([0, 0, 0, 0]) + toa(*CLIENT), Counts(absent=1)),
        (bytes([1]) * 40, Counts(absent=1)),
        (b"", Counts(absent=1)),
        (toa(*CLIENT6), Counts(unfit=1)),
    ],
    ids=[
        "too short",
        "of no known length",
        "longer than the header",
        "port 0",
        "no address",
        "no IPv6 address",
        "length 0",
        "without a length",
        "after one that is too long",
        "after the end of the list",
        "nothing but NOPs",
        "no options",
        "an IPv6 client on an IPv4 socket",
    ],
)
def test_an_option_that_says_nothing_leaves_the_peer_as_it_is(
    site: Site, group: Group, options: bytes, counted: Counts
) -> None:
    up(group)
    with group.server(site) as server:
        director = site.director()
        director.open(options)

        assert server.says() == seen((LIP, director.lport), RIP)
    assert counts(group) == counted


def test_a_lost_ack_is_made_good_by_the_first_data(site: Site, group: Group) -> None:
    up(group)
    with group.server(site) as server:
        director = site.director()
        director.syn()
        director.send(b"hello", toa(*CLIENT))

        assert server.says() == seen(CLIENT, RIP)


def test_a_deferred_accept_takes_the_option_of_the_first_data(site: Site, group: Group) -> None:
    up(group)
    with group.server(site, deferred=True) as server:
        director = site.director()
        director.open(toa(*CLIENT))
        director.send(b"hello", toa(*CLIENT))

        assert server.says() == seen(CLIENT, RIP)


def test_a_connection_made_of_a_syn_cookie_has_its_client(site: Site, group: Group) -> None:
    up(group)
    site.sysctl("net.ipv4.tcp_syncookies", 2)
    try:
        with group.server(site, socket.AF_INET6, "::") as server:
            site.director().open(toa(*CLIENT))
            assert server.says() == seen(mapped(CLIENT), f"::ffff:{RIP}")
            site.director(LIP6).open(toa(*CLIENT6))
            assert server.says() == seen(CLIENT6, RIP6)
    finally:
        site.sysctl("net.ipv4.tcp_syncookies", 1)


def test_with_fast_open_the_peer_stays_the_director(site: Site, group: Group) -> None:
    up(group)
    site.sysctl("net.ipv4.tcp_fastopen", FASTOPEN_WITHOUT_COOKIE)
    try:
        with group.server(site, fast=True) as server:
            director = site.director()
            director.syn(data=b"hello")
            director.send(options=toa(*CLIENT))

            assert server.says() == seen((LIP, director.lport), RIP)
    finally:
        site.sysctl("net.ipv4.tcp_fastopen", 1)
    assert counts(group) == Counts(absent=1)


def test_a_listener_of_multipath_tcp_sees_the_client_of_a_plain_connection(
    site: Site, group: Group
) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP).close()
    except OSError:
        pytest.skip("this kernel is without MPTCP: boot one with CONFIG_MPTCP")
    up(group)
    with group.server(site, protocol=MPTCP) as server:
        site.director().open(toa(*CLIENT))

        assert server.says() == seen(CLIENT, RIP)


def test_the_connection_itself_stays_with_the_director(site: Site, group: Group) -> None:
    up(group)
    with group.server(site) as server:
        director = site.director()
        director.open(toa(*CLIENT), b"hello")
        assert server.says() == seen(CLIENT, RIP)
        assert director.read(b"\n") == b"seen\n"

        argv = ["ip", "netns", "exec", site.server.name, "ss", "-Htn", "state", "established"]
        listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert listed.split()[2:4] == [f"{RIP}:7000", f"{LIP}:{director.lport}"]


def test_each_cgroup_believes_its_own_addresses(site: Site) -> None:
    with groups(2) as (one, two):
        up(one, trusted=LIP)
        up(two, trusted=OTHER)
        with one.server(site) as first, two.server(site, port=7001) as second:
            for lip, rport in ((LIP, 7000), (OTHER, 7000), (LIP, 7001), (OTHER, 7001)):
                site.director(lip, rport).open(toa(*CLIENT))
            reports = [first.says(), first.says(), second.says(), second.says()]
        assert (counts(one), counts(two)) == (Counts(read=1, untrusted=1),) * 2
    names = [report["accept"][0] for report in reports]
    assert names == [CLIENT[0], OTHER, LIP, CLIENT[0]]


def test_outside_the_cgroup_nothing_changes(site: Site) -> None:
    with groups(2) as (one, two):
        up(one)
        with two.server(site) as server:
            director = site.director()
            director.open(toa(*CLIENT))

            assert server.says() == seen((LIP, director.lport), RIP)
        assert counts(one) == Counts()


def test_a_port_of_many_ones_is_read_as_it_stands(site: Site, group: Group) -> None:
    up(group)
    with group.server(site) as server:
        site.director().open(toa("255.254.253.252", struct.unpack("!H", b"\xf9\x89")[0]))

        assert server.says() == seen(("255.254.253.252", 63881), RIP)
