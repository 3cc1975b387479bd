"""The MSS that fits into a tunnel, the table that limits it, and what is read out of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from lvsd.errors import KernelError
from lvsd.io import nft
from lvsd.net import links
from lvsd.net.links import Link
from lvsd.packet.address import pack
from lvsd.realserver import mss
from lvsd.realserver.settings import Settings

if TYPE_CHECKING:
    from lvsd.realserver.settings import Tunnel

VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
OVER4, OVER6 = "10.0.0.1", "fd00::1"
SIZE: Final = {"tcp option": {"name": "maxseg", "field": "size"}}


@pytest.fixture
def mtus(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int | None]:
    """Return the MTUs of the ways to directors, to be changed; 1500 where there is none."""
    known: dict[bytes, int | None] = {}
    monkeypatch.setattr(
        mss, "route_mtus", lambda named: {each: known.get(each, 1500) for each in named}
    )
    return known


def fitting(*directors: str, tunnel: Tunnel = "ipip") -> list[int]:
    """Return the MSS of an IPv4 and of an IPv6 virtual address."""
    settings = Settings.of(
        "tun", [VIP4, VIP6], tunnel=tunnel, directors=list(directors), mss="auto"
    )
    limits = mss.wanted(settings)
    return [limits[pack(VIP4)], limits[pack(VIP6)]]


@pytest.mark.usefixtures("mtus")
@pytest.mark.parametrize(
    ("tunnel", "over4", "over6"),
    [
        ("ipip", [1440, 1420], [1420, 1400]),
        ("gre", [1432, 1412], [1412, 1392]),
        ("gue", [1428, 1408], [1408, 1388]),
    ],
)
def test_it_is_what_the_headers_leave_of_1500(
    tunnel: Tunnel, over4: list[int], over6: list[int]
) -> None:
    assert fitting(OVER4, tunnel=tunnel) == over4
    assert fitting(OVER6, tunnel=tunnel) == over6
    assert fitting(OVER4, OVER6, tunnel=tunnel) == over6


def test_the_narrowest_way_counts(mtus: dict[bytes, int | None]) -> None:
    mtus[pack("10.0.0.2")] = 1400
    assert fitting(OVER4, "10.0.0.2") == [1340, 1320]
    mtus[pack(OVER6)] = 1280
    assert fitting(OVER4, OVER6) == [1200, 1180]


def test_a_director_without_a_way_is_named(mtus: dict[bytes, int | None]) -> None:
    mtus[pack(OVER4)] = None
    with pytest.raises(KernelError, match=r"there is no way to 10\.0\.0\.1; see `ip route`"):
        fitting(OVER4)


def test_a_way_that_is_too_narrow_is_refused(mtus: dict[bytes, int | None]) -> None:
    mtus[pack(OVER4)] = 167
    with pytest.raises(KernelError, match="it would be 87; say it by --mss N"):
        fitting(OVER4)


def test_without_directors_the_least_link_with_neighbours_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mtus = {"lo": 65536, "eth0": 9000, "eth1": 1500, "tunl0": 1480, "eth2": 1300}
    there = [
        Link(
            index=index,
            name=name,
            kind="",
            mtu=mtu,
            mac=b"",
            is_ethernet=name.startswith("eth"),
            is_up=name != "eth2",
            is_running=True,
            speaks_arp=name.startswith("eth"),
        )
        for index, (name, mtu) in enumerate(mtus.items(), 1)
    ]
    monkeypatch.setattr(links, "every", lambda _: there)
    assert fitting() == [1420, 1400]


def test_a_number_is_for_all_virtual_addresses() -> None:
    settings = Settings.of("tun", [VIP4, VIP6], mss="1300")
    assert mss.wanted(settings) == {pack(VIP4): 1300, pack(VIP6): 1300}
    assert mss.wanted(Settings.of("tun", [VIP4, VIP6])) == {}


def test_the_table_has_a_set_and_a_rule_for_each_ip_version() -> None:
    clamp = "tcp flags syn tcp option maxseg size > {0} tcp option maxseg size set {0}"
    chain = "add chain inet lvsd_realserver mss { type filter hook postrouting priority 150; }"
    rule = "add rule inet lvsd_realserver mss"
    named = "add set inet lvsd_realserver"
    assert mss.commands({pack(VIP4): 1440, pack("192.0.2.11"): 1440, pack(VIP6): 1420}) == [
        "add table inet lvsd_realserver",
        chain,
        f"{named} vips4 {{ type ipv4_addr; elements = {{ 192.0.2.10, 192.0.2.11 }}; }}",
        f"{rule} ip saddr @vips4 {clamp.format(1440)}",
        f"{named} vips6 {{ type ipv6_addr; elements = {{ 2001:db8::10 }}; }}",
        f"{rule} ip6 saddr @vips6 {clamp.format(1420)}",
    ]
    assert mss.commands({}) == []


def table(**changes: object) -> list[nft.Object]:
    """Return what nft says of a table as `commands` makes it, with some things changed."""
    source = {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}}
    parts: dict[str, Any] = {
        "hook": "postrouting",
        "elem": [VIP4],
        "expr": [
            {"match": {**source, "right": "@vips4"}},
            {"match": {"op": ">", "left": SIZE, "right": 1440}},
            {"mangle": {"key": SIZE, "value": 1440}},
        ],
    } | changes
    return [
        ("metainfo", {"json_schema_version": 1}),
        ("table", {"family": "inet", "name": "lvsd_realserver"}),
        ("rule", {"chain": "mss", "expr": parts["expr"]}),
        ("chain", {"name": "mss", "hook": parts["hook"]}),
        ("set", {"name": "vips4", "elem": parts["elem"]}),
    ]


@pytest.mark.parametrize(
    ("found", "limits"),
    [
        (table(), {pack(VIP4): 1440}),
        (None, {}),
        ([], {}),
        (table(hook="output"), {}),
        (table(elem=[]), {}),
        (table(elem=[{"prefix": {"addr": "192.0.2.0", "len": 24}}]), {}),
        (table(elem=["web"]), {}),
        (table(expr=[]), {}),
        (table(expr=[{"counter": None}]), {}),
        (table(expr=[{"mangle": {"key": SIZE, "value": {"numgen": {}}}}]), {}),
        ([("rule", {})], {}),
    ],
)
def test_only_a_table_that_limits_is_read_as_one(
    monkeypatch: pytest.MonkeyPatch,
    found: list[nft.Object] | None,
    limits: dict[bytes, int],
) -> None:
    monkeypatch.setattr(nft, "listed", lambda _table: found)
    assert mss.in_force() == limits
