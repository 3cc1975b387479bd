"""The snapshot of the network says of each address what the kernel says, or that it cannot know."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import until
from lvsd.net import addresses, fib, links, namespaces, network, ways
from lvsd.net.fib import Unknown
from lvsd.packet.address import pack, text
from tests.netns.net.conftest import linked, two_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.net.kernel import Kernel

SEEDS = range(12)
LOOK_UPS = 120
INTERFACES = ("eth0", "eth1", "eth2")
ADDRESSES = (
    *("10.0.0.1/24 dev eth0", "10.0.0.9/24 dev eth0", "192.0.2.1/28 dev eth0"),
    *("10.1.0.1/24 dev eth1", "10.9.0.0/16 dev lo"),
    *("2001:db8::1/64 dev eth0", "2001:db8::9/64 dev eth0", "2001:db8::a000/64 dev eth0"),
    *("fd00:1::1/64 dev eth1", "fd00:1::2/64 dev eth1 preferred_lft 0"),
)
GATEWAYS = {4: ("10.0.0.2", "10.0.0.3", "192.0.2.2", "10.1.0.2"), 6: ("2001:db8::2", "fd00:1::9")}
OWN = {4: ("10.0.0.1", "10.0.0.9", "10.1.0.1"), 6: ("2001:db8::9", "fd00:1::1", "fd00:1::2")}
INSIDE = {4: ip_network("10.0.0.0/8"), 6: ip_network("2001:db8::/32")}
TABLES = ("main", "main", "99", "100", "local")


@dataclass(frozen=True)
class Host:
    """A namespace with three links, and a conversation about it."""

    kernel: Kernel
    name: str

    def ip(self, *lines: str) -> None:
        """Carry out commands; those that the kernel refuses are left out."""
        self._batch("-4", lines)

    def ip6(self, *lines: str) -> None:
        """Do so for IPv6."""
        self._batch("-6", lines)

    def _batch(self, family: str, lines: Iterable[str]) -> None:
        argv = ["ip", family, "-n", self.name, "-force", "-batch", "-"]
        text = "\n".join(lines)
        subprocess.run(argv, input=text, text=True, check=False, capture_output=True)

    def read(self, *, forwards_ipv6: bool = True) -> network.Network:
        """Return the snapshot."""
        return network.read(self.kernel, forwards_ipv6=forwards_ipv6)


@pytest.fixture
def host() -> Iterator[Host]:
    """Build the host, which forwards IPv6; remove it afterwards."""
    with two_namespaces("routes", "far") as names:
        for name in names:
            with namespaces.entered(name):
                conf = Path("/proc/sys/net/ipv6/conf")
                for key in ("all/forwarding", "default/forwarding"):
                    (conf / key).write_text("1", encoding="ascii")
                for key in ("accept_dad", "dad_transmits"):
                    (conf / "default" / key).write_text("0", encoding="ascii")
        with linked(names, INTERFACES, 1500) as kernel:
            up = [f"link set {name} up" for name in ("lo", *INTERFACES)]
            Host(kernel, names[1]).ip(*up)
            made_here = Host(kernel, names[0])
            made_here.ip(*up, "link set eth1 mtu 1400")
            # The kernel sees a carrier a little later, and adds no route before.
            assert until(lambda: all(link.is_running for link in links.every(kernel)))
            for each in ADDRESSES:
                (made_here.ip6 if ":" in each else made_here.ip)(f"address add {each}")
            assert until(lambda: not any(each.is_tentative for each in addresses.every(kernel)))
            yield made_here


def agreement(host: Host, wanted: Iterable[bytes], **known: bool) -> tuple[int, set[str]]:
    """Compare snapshot and kernel; return how much the snapshot knew, and why not the rest."""
    snapshot = host.read(**known)
    expected = ways.ask(host.kernel, wanted)
    count, reasons = 0, set()
    for address, way in expected.items():
        found = snapshot.way(address)
        if isinstance(found, Unknown):
            reasons.add(found.why)
            continue
        assert found == way, f"{text(address)}: {found} is not {way}"
        count += 1
    return count, reasons


def random_prefix(rng: random.Random, version: int) -> str:
    inside = INSIDE[version]
    length = rng.choice({4: (8, 12, 16, 20, 24, 28, 32), 6: (32, 40, 48, 64, 96, 128)}[version])
    start = int(inside.network_address) + rng.getrandbits(inside.max_prefixlen - inside.prefixlen)
    return str(ip_network((start, length), strict=False))


def random_addresses(rng: random.Random, version: int) -> list[bytes]:
    prefixes = (ip_network(random_prefix(rng, version)) for _ in range(LOOK_UPS))
    return [prefix.network_address.packed for prefix in prefixes]


def random_route(rng: random.Random, version: int) -> str:
    prefix = "default" if rng.random() < 0.05 else random_prefix(rng, version)
    end = f"{prefix} table {rng.choice(TABLES)} metric {rng.randrange(1, 4)}"
    if rng.random() < 0.2:
        kind = rng.choice(["blackhole", "unreachable", "prohibit", "throw"])
        return f"route append {kind} {end}"
    options = f" mtu {rng.randrange(1280, 1400)}" if rng.random() < 0.3 else ""
    options += f" src {rng.choice(OWN[version])}" if rng.random() < 0.2 else ""
    gateway, out = rng.choice(GATEWAYS[version]), rng.choice(INTERFACES)
    match rng.randrange(9):
        case 0:
            hops = f"nexthop via {gateway} nexthop via {rng.choice(GATEWAYS[version])}"
            return f"route append {end}{options} {hops}"
        case 1:
            return f"route append {end}{options} dev {out}"
        case 2:
            return f"route append {end}{options} via {gateway} dev {out} onlink"
    return f"route append {end}{options} via {gateway}"


def random_rule(rng: random.Random, version: int) -> str:
    words = ["rule add"]
    if rng.random() < 0.15:
        words.append("not")
    if rng.random() < 0.3:
        words.append(f"from {random_prefix(rng, version)}")
    if rng.random() < 0.6:
        words.append(f"to {random_prefix(rng, version)}")
    if rng.random() < 0.2:
        words.append(rng.choice(["fwmark 7", "fwmark 8/8", "fwmark 0/4"]))
    if rng.random() < 0.2:
        words.append(rng.choice(["iif lo", "iif eth0", "oif eth1"]))
    if rng.random() < 0.1:
        words.append(rng.choice(["ipproto 17", "dport 80", "uidrange 0-9"]))
    words.append(f"priority {rng.randrange(1, 40)}")
    last = ["lookup 99", "lookup 100", "lookup main", "lookup main suppress_prefixlength 16"]
    last += ["blackhole", "unreachable", "prohibit", "goto 40"]
    return " ".join([*words, rng.choice(last)])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [4, 6])
def test_the_snapshot_agrees_with_the_kernel(host: Host, version: int, seed: int) -> None:
    rng = random.Random(seed)
    do = host.ip if version == 4 else host.ip6
    routes = [random_route(rng, version) for _ in range(60)]
    rules = [random_rule(rng, version) for _ in range(seed % 3 * 4)]
    do(*routes, *rules, "rule add to 192.0.2.250 priority 40 lookup 99" if version == 4 else "")
    wanted = random_addresses(rng, version)
    wanted += [ip_address(each).packed for each in (*OWN[version], *GATEWAYS[version])]
    count, _ = agreement(host, wanted)
    assert count > 0


@pytest.mark.parametrize("version", [4, 6])
def test_without_anything_unusual_the_snapshot_knows_all(host: Host, version: int) -> None:
    gateway = GATEWAYS[version][0]
    do = host.ip if version == 4 else host.ip6
    do(f"route add default via {gateway}", f"route add {INSIDE[version]} via {gateway} mtu 1300")
    rng = random.Random(version)
    wanted = random_addresses(rng, version)
    count, reasons = agreement(host, wanted)
    assert (count, reasons) == (len(set(wanted)), set())


def test_a_host_that_forwards_no_ipv6_may_pass_over_a_gateway(host: Host) -> None:
    host.ip6("route add 2001:db8:9::/48 via 2001:db8::2")
    snapshot = host.read(forwards_ipv6=False)
    assert snapshot.way(pack("2001:db8:9::1")) == fib.REACHABLE
    assert not isinstance(snapshot.way(pack("2001:db8::77")), Unknown)


@pytest.mark.parametrize(
    ("route", "address", "why"),
    [
        (
            "nexthop add id 7 via 10.0.0.2 dev eth0|route add 10.5.0.0/16 nhid 7",
            "10.5.0.1",
            fib.OBJECT,
        ),
        (
            "route add 10.5.0.0/16 nexthop via 10.0.0.2 nexthop via 10.1.0.2",
            "10.5.0.1",
            fib.SEVERAL,
        ),
        ("rule add ipproto 17 lookup 99", "10.5.0.1", fib.OF_PACKET),
        ("route add 10.9.7.0/24 via 10.0.0.2", "10.9.7.1", fib.MERGED),
        ("route add default via 10.0.0.2", "224.0.0.5", network.SPECIAL),
        ("route add default via 10.0.0.2", "2001:db8::1", None),
    ],
)
def test_what_only_the_kernel_knows_is_said(
    host: Host, route: str, address: str, why: Unknown | None
) -> None:
    host.ip("route add local 10.9.0.0/16 dev lo", *route.split("|"))
    found = host.read().way(pack(address))
    assert found == why if why is not None else not isinstance(found, Unknown)


def test_the_kernel_is_asked_about_the_rest(host: Host) -> None:
    host.ip("route add 10.5.0.0/16 mtu 1300 nexthop via 10.0.0.2 nexthop via 10.0.0.3")
    wanted = [pack(each) for each in ("10.5.0.1", "10.0.0.7", "203.0.113.1")]
    found = network.ways(host.kernel, host.read(), wanted)
    assert found == ways.ask(host.kernel, wanted)
    assert [way and way.mtu for way in (found[each] for each in wanted)] == [1300, 1500, None]


def test_servers_behind_a_link_without_an_address_are_one_question(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.ip("address flush dev eth2", "address add 10.0.0.1/24 dev eth0")
    host.ip("address add 10.1.0.1/24 dev eth1", "route add 10.64.0.0/16 dev eth2")
    wanted = [pack(f"10.64.{each // 200}.{1 + each % 200}") for each in range(2000)]
    asked: list[bytes] = []

    def ask(kernel: Kernel, addresses: Iterable[bytes]) -> dict[bytes, ways.Way | None]:
        asked.extend(addresses)
        return ways.ask(kernel, addresses)

    monkeypatch.setattr(network, "ask", ask)
    found = network.ways(host.kernel, host.read(), wanted)
    assert len(asked) == 1
    some = wanted[::97]
    assert {each: found[each] for each in some} == ways.ask(host.kernel, some)
    assert found.keys() == set(wanted)
