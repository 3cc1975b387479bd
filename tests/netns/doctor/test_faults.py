"""A running director with a real server of each mode: what the doctor says of it, and of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.doctor.site import changed, sysctl

if TYPE_CHECKING:
    from tests.netns.doctor.site import Clinic, Found
    from tests.netns.traffic.site import Family

NAT, DR, TUN, FULLNAT = range(4)
"""Which of the lab's servers is of which mode."""

FORWARDING = {"v4": "net.ipv4.ip_forward", "v6": "net.ipv6.conf.all.forwarding"}
IP = {"v4": "ip", "v6": "ip -6"}


def of(found: list[Found], check: str) -> list[tuple[str, str, str, str]]:
    """Return level, text, command and place of what a check found."""
    return [(f.level, f.what, f.remedy, f.at) for f in found if f.check == check]


def serve(mixed: Clinic) -> None:
    """Have clients answered, after tests that left some without an answer."""
    for way in ("nat", "fullnat"):
        mixed.visit(way, "v4")


def test_forwarding_that_is_off_is_a_problem_for_nat(mixed: Clinic, family: Family) -> None:
    name = FORWARDING[family]

    with sysctl(mixed.lab.director, name, "0"):
        found = mixed.findings()

    what = f"the kernel does not forward IP{family}, which NAT needs"
    assert of(found, "forwarding") == [("problem", what, f"sysctl -w {name}=1", "")]


def test_an_interface_that_does_not_forward_is_a_problem_for_nat(mixed: Clinic) -> None:
    name = "net.ipv4.conf.back.forwarding"

    with sysctl(mixed.lab.director, name, "0"):
        found = mixed.findings()

    what = "replies that come in by back are not forwarded"
    assert of(found, "forwarding") == [("problem", what, f"sysctl -w {name}=1", "")]


def test_replies_that_rp_filter_drops_are_found(mixed: Clinic) -> None:
    director, server = mixed.lab.director, mixed.lab.servers[NAT].addresses.v4
    detour = f"{server}/32 via {mixed.lab.router.interface('front').v4} dev front"

    with (
        sysctl(director, "net.ipv4.conf.back.rp_filter", "1"),
        changed(director, f"route add {detour}", f"route delete {detour}"),
    ):
        found = mixed.findings()

    what = f"rp_filter drops replies of {server}: they come in by back, the route there leaves by"
    expected = ("problem", f"{what} front", "sysctl -w net.ipv4.conf.back.rp_filter=2", "")
    assert expected in of(found, "rp_filter")


def test_requests_that_rp_filter_drops_are_found(mixed: Clinic) -> None:
    director = mixed.lab.director
    detour = f"192.0.2.100/32 via {mixed.lab.router.interface('back').v4} dev back"
    # The filter drops ARP requests, too: let the client know its gateway, as routers do.
    mixed.lab.client.run(["ping", "-c1", director.addresses.v4])

    with (
        sysctl(director, "net.ipv4.conf.front.rp_filter", "1"),
        changed(director, f"route add {detour}", f"route delete {detour}"),
    ):
        mixed.go_unanswered("nat", "v4")
        found = mixed.findings()

    [(level, what, remedy, _)] = of(found, "rp_filter")
    assert (level, remedy) == ("problem", "sysctl -w net.ipv4.conf.front.rp_filter=2")
    assert what.startswith("rp_filter is strict and has dropped ")


def test_a_dr_server_behind_a_router_is_a_problem(mixed: Clinic, family: Family) -> None:
    address, router = (
        getattr(each, family)
        for each in (mixed.lab.servers[DR].addresses, mixed.lab.router.interface("back"))
    )
    route = f"{address}/{32 if family == 'v4' else 128} via {router} dev back"

    with changed(mixed.lab.director, f"route add {route}", f"route delete {route}"):
        found = mixed.findings()

    what = f"DR needs {address} on a link of this host, but it is behind {router}"
    remedy = f"ip route replace {address}/{32 if family == 'v4' else 128} dev INTERFACE"
    assert of(found, "route") == [("problem", what, remedy, "")]


def test_a_dr_server_behind_no_ethernet_is_a_problem(mixed: Clinic) -> None:
    director, address = mixed.lab.director, mixed.lab.servers[DR].addresses.v4

    director.ip("tuntap add dev pipe mode tun", "link set pipe up")
    with changed(director, f"route add {address}/32 dev pipe", "tuntap delete dev pipe mode tun"):
        found = mixed.findings()

    what = "DR sends frames, but pipe is not Ethernet"
    assert of(found, "route") == [("problem", what, 'forward = "tun"', "the configuration")]


def test_servers_in_an_unreachable_network_are_a_problem(mixed: Clinic, family: Family) -> None:
    director, lab = mixed.lab.director, mixed.lab
    router = getattr(lab.router.interface("back"), family)
    network = {"v4": "10.1.0.0/24", "v6": "fd00:11::/64"}[family]
    route = f"{network} via {router} dev back"

    with changed(director, f"route delete {route}", f"route add {route}"):
        found = mixed.findings()

    addresses = [getattr(lab.servers[which].addresses, family) for which in (TUN, FULLNAT)]
    assert [(level, what) for level, what, _, _ in of(found, "route")] == [
        ("problem", f"no route to {address}") for address in addresses
    ]


def test_a_real_server_that_answers_for_the_virtual_address_is_named(mixed: Clinic) -> None:
    server = mixed.lab.servers[DR]

    with sysctl(server, "net.ipv4.conf.all.arp_ignore", "0"):
        found = mixed.findings()

    [(level, what, remedy, at)] = of(found, "arp")
    address, vip = server.addresses.v4, mixed.lab.vip.v4
    assert (level, what) == ("problem", f"the real server {address} answers ARP for {vip}")
    both = f"--vip {vip} --vip {mixed.lab.vip.v6}"
    assert (remedy, at) == (f"lvsd realserver up --mode dr {both}", address)
    [where] = [f.where for f in found if f.check == "arp"]
    assert where == "interface back, MAC 02:00:0a:00:00:0c"


def test_a_real_server_that_answers_neighbour_discovery_is_named(mixed: Clinic) -> None:
    server, vip = mixed.lab.servers[DR], mixed.lab.vip.v6
    address = f"address {{}} {vip}/128 dev eth0"

    with changed(server, f"{address.format('add')} nodad", address.format("delete")):
        found = mixed.findings()

    what = f"the real server {server.addresses.v6} answers neighbour discovery for {vip}"
    assert [(level, said) for level, said, _, _ in of(found, "arp")] == [("problem", what)]


def test_a_nat_server_with_another_gateway_is_a_problem(mixed: Clinic, family: Family) -> None:
    server, router = mixed.lab.servers[NAT], mixed.lab.router.interface("back")
    address = getattr(server.addresses, family)
    director = getattr(mixed.lab.director.interface("back"), family)
    default = "route replace default via {} dev eth0"

    with changed(server, default.format(getattr(router, family)), default.format(director)):
        found = mixed.findings()

    [(level, what, remedy, at)] = of(found, "reply")
    assert what.startswith(f"replies of {address} to clients do not come through this director")
    assert (level, remedy, at) == ("problem", f"ip route replace default via {director}", address)


def test_a_fullnat_server_that_does_not_find_a_local_address_is_a_problem(
    mixed: Clinic, family: Family
) -> None:
    server = mixed.lab.servers[FULLNAT]
    address = getattr(server.addresses, family)
    local = getattr(mixed.lab.local_addresses[0], family)
    length = 32 if family == "v4" else 128
    hole = f"route {{}} blackhole {local}/{length}"

    with changed(server, hole.format("add"), hole.format("delete")):
        found = mixed.findings()

    source = getattr(mixed.lab.director.interface("back"), family)
    what = f"{address} has no route back to the local address {local}, only to {source}"
    remedy = f"ip route replace {local}/{length} via GATEWAY"
    assert of(found, "reply") == [("problem", what, remedy, address)]


def test_a_tunnels_server_that_does_not_find_the_director_is_a_warning(
    mixed: Clinic, family: Family
) -> None:
    server = mixed.lab.servers[TUN]
    address = getattr(server.addresses, family)
    source = getattr(mixed.lab.director.interface("back"), family)
    hole = f"route {{}} blackhole {source}/{32 if family == 'v4' else 128}"

    with changed(server, hole.format("add"), hole.format("delete")):
        found = mixed.findings()

    what = f"{address} answers no echo: it is down, has no route to {source}, or drops echoes"
    assert of(found, "reply") == [("warning", what, f"ip route get {source}", address)]


def test_a_local_address_that_is_none_of_the_directors_is_a_problem(
    mixed: Clinic, family: Family
) -> None:
    local = getattr(mixed.lab.local_addresses[1], family)
    length, life = {"v4": (24, ""), "v6": (64, " nodad preferred_lft 0")}[family]
    address = f"address {{}} {local}/{length} dev back"

    with changed(mixed.lab.director, address.format("delete"), address.format("add") + life):
        found = mixed.findings()

    what = f"the local address {local} is not on this host"
    remedy = f"ip address add {local}/{32 if family == 'v4' else 128} dev back"
    assert of(found, "local addresses") == [("problem", what, remedy, "")]


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ('"10.0.0.12:82"', '"10.0.0.12:8082"', "has port 8082, expected 82 as its service"),
        ('local_addresses = ["10.0.0.2", "10.0.0.3"]', "", "local_addresses: missing"),
    ],
)
def test_a_bad_configuration_is_told_beside_a_running_director(
    mixed: Clinic, line: str, instead: str, said: str
) -> None:
    file = mixed.site.daemon.config_file
    bad = file.with_name("bad.toml")
    bad.write_text(file.read_text().replace(line, instead))

    found = mixed.findings("-c", str(bad), "--control", str(mixed.site.daemon.control))

    [(level, what, remedy, _)] = of(found, "configuration")
    assert (level, remedy) == ("problem", f"lvsd -t -c {bad}")
    assert said in what
    # What earlier tests did to real servers is told for a minute.
    assert {each.check for each in found} - {"refusing"} == {"configuration"}


@pytest.mark.parametrize("way", ["nat", "tun", "fullnat"])
def test_a_firewall_that_drops_is_found(mixed: Clinic, way: str) -> None:
    hook = "forward" if way == "nat" else "output"
    policy = f"{{ type filter hook {hook} priority filter; policy drop; }}"
    director = mixed.lab.director

    director.run(["nft", f"add table inet wall; add chain inet wall it {policy}"])
    try:
        (mixed.visit if way == "tun" else mixed.go_unanswered)(way, "v4")
        found = mixed.findings()
    finally:
        director.run(["nft", "delete", "table", "inet", "wall"])

    [(level, what, remedy, _)] = of(found, "firewall")
    assert (level, remedy) == ("problem", "nft insert rule inet wall it ct state untracked accept")
    assert what.startswith(f"policy drop in hook {hook}, and no rule about untracked packets")


def test_the_command_of_a_firewalls_finding_mends_it(mixed: Clinic) -> None:
    policy = "{ type filter hook forward priority filter; policy drop; }"
    director = mixed.lab.director

    director.run(["nft", f"add table inet wall; add chain inet wall it {policy}"])
    try:
        [finding] = [each for each in mixed.findings() if each.check == "firewall"]
        mixed.mend(director, finding)
        found = mixed.findings()
    finally:
        director.run(["nft", "delete", "table", "inet", "wall"])

    assert of(found, "firewall") == []


def test_a_mended_lab_is_good_again(mixed: Clinic) -> None:
    serve(mixed)
    assert mixed.findings() == []


def test_a_running_daemon_is_asked_without_a_configuration(mixed: Clinic) -> None:
    serve(mixed)
    assert mixed.findings("--control", str(mixed.site.daemon.control)) == []


def test_the_text_fits_sixty_columns_and_ends_with_zero(mixed: Clinic) -> None:
    serve(mixed)
    status, text = mixed.doctor()

    assert status == 0
    assert [line for line in text.splitlines() if len(line) > 60] == []
    assert {line[:9] for line in text.splitlines()} == {"ok       ", " " * 9}
