"""A running director with two real servers of one mode: nothing is wrong, or one thing is.

A test puts back what it has changed; when all are done, nothing may be wrong.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import real_server, settings
from lvsd.lab.notify import start_and_wait
from lvsd.lab.plan import WAYS
from lvsd.lab.wait import until
from tests.netns.doctor.site import MAPPING, PORTS, changed, clinic, of, sysctl
from tests.netns.modes.site import counter, forwarded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from tests.netns.doctor.site import Clinic, Found
    from tests.netns.traffic.site import Family

DEFAULT = "route replace default via {} dev eth0"


@pytest.fixture(scope="module")
def alike(request: pytest.FixtureRequest) -> Iterator[Clinic]:
    """Run a director with two servers of the mode that the test names."""
    way: str = request.param
    with clinic((way, way)) as standing:
        yield standing
        for _ in standing.lab.servers:
            standing.visit(way, "v4")
        assert standing.findings() == []


def of_modes(*ways: str) -> pytest.MarkDecorator:
    """Have the test done in a lab of each of these modes."""
    return pytest.mark.parametrize("alike", ways, indirect=True)


@contextlib.contextmanager
def virtual_addresses_on(director: Namespace, *addresses: str) -> Iterator[None]:
    """Give the director virtual addresses for the time of the block."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            line = f"address {{}} {address}/{128 if ':' in address else 32} dev lo"
            stack.enter_context(changed(director, line.format("add"), line.format("delete")))
        yield


@contextlib.contextmanager
def served_from(server: Namespace, gateway: str, usual: str) -> Iterator[None]:
    """Have a server's replies go to another gateway for the time of the block."""
    with changed(server, DEFAULT.format(gateway), DEFAULT.format(usual)):
        yield


def carry_out(finding: Found, server: Namespace) -> None:
    """Give the command of a finding on a real server, where the lab's own has left its record."""
    state = ["--state", str(server.directory / real_server.NAME)]
    command = [sys.executable, "-m", *finding.remedy.split(), *state]
    start_and_wait(server, command, real_server.NAME, may_end=True)


@of_modes(*WAYS)
def test_nothing_is_found_in_a_good_lab(alike: Clinic) -> None:
    assert alike.findings() == []


@of_modes("tun", "dr")
def test_nothing_is_found_where_the_director_has_the_virtual_address_and_connections_are_reset(
    alike: Clinic,
) -> None:
    vip, server = alike.lab.vip, alike.lab.servers[0]
    before = counter(server, "TcpExtEmbryonicRsts")

    # With the virtual addresses here no reset of the director's kernel gets to the server.
    with virtual_addresses_on(alike.lab.director, vip.v4, vip.v6):
        assert alike.findings() == []

    assert counter(server, "TcpExtEmbryonicRsts") == before + 2
    assert server.run(["ss", "-Htna", "state", "syn-recv"]).stdout == ""


@of_modes("dr")
def test_a_server_that_is_gone_does_not_answer_as_a_neighbour(alike: Clinic) -> None:
    gone, port = alike.lab.servers[0], "link set back-server1"

    with changed(alike.lab.host("switch"), f"{port} down", f"{port} up"):
        found = alike.findings()

    v4, v6 = gone.addresses.v4, gone.addresses.v6
    assert of(found, "neighbour") == [
        ("problem", f"{v4} cannot be reached: it does not answer ARP"),
        ("problem", f"{v6} cannot be reached: it does not answer neighbour discovery"),
    ]
    assert {each.check for each in found} == {"neighbour"}
    assert until(lambda: alike.findings() == [])


SAYS = {
    "dr": "does not answer as {vip}: it does not have that address, or drops echoes to it",
    "tun": "does not take packets to {vip}: {server} says: no tunnel is received there",
}
OPTIONS = {"dr": "", "tun": " --tunnel ipip --from 10.0.0.1 --from fd00:10::1 --mss auto"}


@of_modes("dr", "tun")
def test_a_server_without_the_virtual_address_is_a_problem_and_its_command_mends_both_families(
    alike: Clinic,
) -> None:
    server, vip = alike.lab.servers[0], alike.lab.vip
    way = server.way

    real_server.down(server)
    found = alike.findings()
    carry_out(found[0], server)
    mended = alike.findings()

    pairs = [(server.addresses.v4, vip.v4), (server.addresses.v6, vip.v6)]
    assert of(found, "virtual address") == [
        ("problem", f"{address} {SAYS[way].format(vip=virtual, server=address)}")
        for address, virtual in pairs
    ]
    remedy = f"lvsd realserver up --mode {way} --vip {vip.v4} --vip {vip.v6}{OPTIONS[way]}"
    assert [(each.at, each.remedy) for each in found] == [(address, remedy) for address, _ in pairs]
    assert mended == []


@of_modes("tun")
def test_a_server_with_another_kind_of_tunnel_is_a_problem(alike: Clinic) -> None:
    text = alike.site.daemon.config_file.read_text()
    file = alike.lab.director.directory / "gre.toml"
    file.write_text(text.replace('tunnel = "ipip"', 'tunnel = "gre"'))

    found = alike.findings("-c", str(file), "--control", "/nonexistent")

    levels, texts = zip(*of(found, "virtual address"), strict=True)
    assert levels == ("problem",) * 4
    assert all(text.endswith("no tunnel is received there") for text in texts)


@of_modes("dr", "tun")
def test_replies_that_come_back_as_martians_are_a_problem(alike: Clinic) -> None:
    lab, first = alike.lab, alike.lab.servers[0]
    director, back = lab.director, lab.director.interface("back").v4
    way = first.way
    astray = [first] if way == "dr" else lab.servers
    route = f"route {{}} default via {back} dev back"

    with (
        virtual_addresses_on(director, lab.vip.v4),
        sysctl(director, "net.ipv4.ip_forward", "1"),
        served_from(first, back, lab.router.interface("back").v4)
        if way == "dr"
        else changed(lab.router, route.format("add"), route.format("delete")),
    ):
        found = alike.findings()
        with sysctl(director, "net.ipv4.conf.back.accept_local", "1"):
            accepted = alike.findings()

    sends = [
        f"{server.addresses.v4} sends its replies as {lab.vip.v4} through this director"
        for server in astray
    ]
    dropped = ", which drops them: net.ipv4.conf.back.accept_local is 0"
    assert sorted(of(found, "bypass")) == [("problem", f"{text}{dropped}") for text in sends]
    assert sorted(of(accepted, "bypass")) == [("warning", f"{text}, not past it") for text in sends]


@of_modes("dr")
def test_replies_that_come_back_and_are_not_forwarded_are_a_problem(
    alike: Clinic, family: Family
) -> None:
    lab = alike.lab
    director, router = (
        getattr(each.interface("back"), family) for each in (lab.director, lab.router)
    )

    with served_from(lab.servers[0], director, router):
        [(level, what)] = of(alike.findings(), "bypass")

    name = {"v4": "net.ipv4.ip_forward", "v6": "net.ipv6.conf.all.forwarding"}[family]
    assert (level, what.partition(", ")[2]) == ("problem", f"which drops them: {name} is 0")


@of_modes("tun")
def test_a_server_whose_mss_outgrows_the_tunnel_is_a_warning_and_its_command_mends_it(
    alike: Clinic,
) -> None:
    server = alike.lab.servers[0]
    real_server.down(server)
    real_server.up(server, alike.lab.vip)

    found = alike.findings()
    real_server.down(server)
    carry_out(found[0], server)
    mended = alike.findings()

    hang = "clients that hear no ICMP errors will hang"
    says = f"the server's MSS of {{}} lets clients send 1500 bytes, the tunnel takes {{}}; {hang}"
    v4, v6 = says.format(1460, 1480), says.format(1440, 1460)
    assert of(found, "mtu") == [("warning", v4), ("warning", v6)]
    assert len(found) == 2
    assert mended == []


@of_modes("dr", "tun")
def test_a_server_on_which_nobody_listens_is_a_warning(alike: Clinic) -> None:
    lab, idle = alike.lab, alike.lab.servers[1]

    with alike.without_web(idle):
        found = alike.findings()

    ends = [settings.at(vip, PORTS[idle.way]) for vip in (lab.vip.v4, lab.vip.v6)]
    addresses = idle.addresses.v4, idle.addresses.v6
    assert of(found, "listening") == [
        ("warning", f"nobody listens on {end} at {address}")
        for end, address in zip(ends, addresses, strict=True)
    ]
    assert len(found) == 2


@of_modes("nat", "fullnat")
def test_servers_that_refuse_clients_are_a_problem_until_they_take_one(alike: Clinic) -> None:
    servers, way = alike.lab.servers, alike.lab.servers[0].way
    closed = "{ type filter hook input priority filter; }"
    rule = f"tcp dport {MAPPING[way]} reject with tcp reset"

    for server in servers:
        server.run(["nft", f"add table inet shut; add chain inet shut it {closed}"])
        server.run(["nft", f"add rule inet shut it {rule}"])
    for _ in range(3 * len(servers)):
        alike.visit(way, "v4")
    refused = alike.findings()
    for server in servers:
        server.run(["nft", "delete", "table", "inet", "shut"])
    for _ in servers:
        alike.visit(way, "v4")
    found = alike.findings()

    levels, texts = zip(*of(refused, "refusing"), strict=True)
    assert levels == ("problem",) * len(servers)
    assert all(" refused the last 3 connections, " in text for text in texts)
    assert found == []


@of_modes("tun")
def test_a_tunnel_too_narrow_for_ipv6_is_a_problem(alike: Clinic) -> None:
    lab = alike.lab
    file = lab.director.directory / "v6.toml"
    file.write_text(forwarded(lab, "tun", PORTS["tun"], families=("v6",), tunnel="ipip"))

    with changed(lab.director, "link set back mtu 1300", "link set back mtu 1500"):
        found = alike.findings("-c", str(file), "--control", "/nonexistent")

    what = "the tunnel takes 1260 bytes, and IPv6 needs 1280"
    assert of(found, "mtu") == [("problem", what)] * len(lab.servers)
    remedies = {each.remedy for each in found if each.check == "mtu"}
    assert remedies == {"ip link set back mtu 1320"}


@of_modes("nat")
def test_a_table_that_somebody_removes_stands_again_and_is_no_problem(alike: Clinic) -> None:
    director, daemon = alike.lab.director, alike.site.daemon

    # A kernel that knows owners refuses.
    director.run(["nft", "delete", "table", "inet", "lvsd"], check=False)

    assert until(lambda: of(alike.findings(), "daemon") == [])
    assert daemon.process.poll() is None


@of_modes("nat")
def test_in_another_network_namespace_it_says_where_to_look(alike: Clinic) -> None:
    client, daemon = alike.lab.client, alike.site.daemon
    doctor = [sys.executable, "-m", "lvsd", "doctor"]
    named = ["-c", str(daemon.config_file)]
    again = f"nsenter -t {daemon.process.pid} -n"

    lost = client.run([*doctor, *named, "--json"], check=False)
    found = client.run([*again.split(), *doctor, *named], check=False)

    where = f"lvsd (pid {daemon.process.pid}) runs in another network namespace"
    command = shlex.join([*again.split(), "lvsd", "doctor", *named])
    assert (lost.returncode, lost.stdout) == (os.EX_USAGE, "")
    assert lost.stderr == f"lvsd: {where}: use `{command}`\n"
    assert found.returncode == 0, found.stdout
