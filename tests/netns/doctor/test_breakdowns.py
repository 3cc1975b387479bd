"""Faults that take a lab of their own to make, and what the doctor says of each."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, programs, real_server, settings
from lvsd.lab.notify import start_and_wait
from lvsd.lab.wait import PATIENCE, until
from tests.netns.doctor.site import MAPPING, PORTS, Clinic, clinic
from tests.netns.modes.site import counter, forwarded
from tests.netns.traffic.site import Site, running

if TYPE_CHECKING:
    from tests.netns.doctor.site import Found
    from tests.netns.traffic.site import Family

ROUTE = "route replace default via {} dev eth0"
BURST = 5000
"""More packets than the queue holds by default."""


def of(found: list[Found], check: str) -> list[tuple[str, str]]:
    """Return level and text of what a check found."""
    return [(each.level, each.what) for each in found if each.check == check]


def test_a_server_that_is_gone_does_not_answer_as_a_neighbour() -> None:
    with clinic(("dr", "nat")) as standing:
        gone = standing.lab.servers[0]
        gone.ip("link set eth0 down")
        found = standing.findings()

    v4, v6 = gone.addresses.v4, gone.addresses.v6
    assert of(found, "neighbour") == [
        ("problem", f"{v4} cannot be reached: it does not answer ARP"),
        ("problem", f"{v6} cannot be reached: it does not answer neighbour discovery"),
    ]
    assert {each.check for each in found} == {"neighbour"}


def test_servers_without_the_virtual_address_are_a_problem() -> None:
    with clinic(("dr", "tun"), prepared=False) as standing:
        found = standing.findings()
        dr, tun = (server.addresses for server in standing.lab.servers)
        vip = standing.lab.vip

    missing = "does not answer as {}: it does not have that address, or drops echoes to it"
    [first, second, *tunnels] = of(found, "virtual address")
    assert first == ("problem", f"{dr.v4} {missing.format(vip.v4)}")
    assert second == ("problem", f"{dr.v6} {missing.format(vip.v6)}")
    says = "does not take packets to {}: {} says: no tunnel is received there"
    assert tunnels == [
        ("problem", f"{tun.v4} {says.format(vip.v4, tun.v4)}"),
        ("problem", f"{tun.v6} {says.format(vip.v6, tun.v6)}"),
    ]
    both = f"--vip {vip.v4} --vip {vip.v6}"
    directors = "--from 10.0.0.1 --from fd00:10::1 --mss auto"
    assert [each.remedy for each in found] == [
        f"lvsd realserver up --mode dr {both}",
        f"lvsd realserver up --mode dr {both}",
        f"lvsd realserver up --mode tun {both} --tunnel ipip {directors}",
        f"lvsd realserver up --mode tun {both} --tunnel ipip {directors}",
    ]


def test_the_command_for_a_missing_virtual_address_mends_it_over_both_families() -> None:
    with clinic(("dr",), prepared=False) as standing:
        [finding, other] = standing.findings()
        server = standing.lab.servers[0]
        standing.mend(server, finding, "--state", server.directory / "state")

        assert (finding.at, other.at) == (server.addresses.v4, server.addresses.v6)
        assert standing.findings() == []


def test_a_server_with_another_kind_of_tunnel_is_a_problem() -> None:
    with clinic(("tun",), tunnel=("ipip", None), families=("v4",)) as standing:
        text = standing.site.daemon.config_file.read_text()
    with clinic(("tun",), families=("v4",)) as standing:
        file = standing.lab.director.directory / "gre.toml"
        file.write_text(text.replace('tunnel = "ipip"', 'tunnel = "gre"'))
        found = standing.findings("-c", str(file), "--control", "/nonexistent")

    [(level, what)] = of(found, "virtual address")
    assert level == "problem"
    assert what.endswith("no tunnel is received there")


@pytest.mark.parametrize("way", ["dr", "tun"])
def test_replies_that_come_back_as_martians_are_a_problem(way: str) -> None:
    with clinic((way,), families=("v4",)) as standing:
        lab, server = standing.lab, standing.lab.servers[0]
        lab.director.ip(f"address add {lab.vip.v4}/32 dev lo")
        lab.director.sysctl("net.ipv4.ip_forward", "1")
        if way == "dr":
            server.ip(ROUTE.format(lab.director.interface("back").v4))
        else:
            lab.router.ip(f"route add default via {lab.director.interface('back').v4} dev back")
        found = standing.findings()
        lab.director.sysctl("net.ipv4.conf.back.accept_local", "1")
        accepted = standing.findings()

    sends = f"{server.addresses.v4} sends its replies as {lab.vip.v4} through this director"
    martian = f"{sends}, which drops them: net.ipv4.conf.back.accept_local is 0"
    assert of(found, "bypass") == [("problem", martian)]
    assert of(accepted, "bypass") == [("warning", f"{sends}, not past it")]


def test_replies_that_come_back_and_are_not_forwarded_are_a_problem(family: Family) -> None:
    with clinic(("dr",), families=(family,)) as standing:
        director = getattr(standing.lab.director.interface("back"), family)
        standing.lab.servers[0].ip(ROUTE.format(director))
        [(level, what)] = of(standing.findings(), "bypass")

    name = {"v4": "net.ipv4.ip_forward", "v6": "net.ipv6.conf.all.forwarding"}[family]
    assert (level, what.partition(", ")[2]) == ("problem", f"which drops them: {name} is 0")


def test_a_shorter_path_is_a_warning_while_routers_say_so() -> None:
    with clinic(("tun", "fullnat"), far_mtu=1400) as standing:
        found = standing.findings()
        addresses = [server.addresses for server in standing.lab.servers]

    takes = "the path to {} takes 1400 bytes, not 1500; its routers say so"
    assert sorted(of(found, "mtu")) == sorted(
        ("warning", takes.format(address)) for pair in addresses for address in (pair.v4, pair.v6)
    )
    assert {each.check for each in found} == {"mtu"}


def test_a_shorter_path_that_nobody_speaks_of_is_a_problem(family: Family) -> None:
    with clinic(("fullnat",), families=(family,), far_mtu=1400) as standing:
        silent = "type filter hook output priority 0; icmp type 3 drop; icmpv6 type 2 drop;"
        standing.lab.router.run(["nft", f"table inet silent {{ chain it {{ {silent} }}; }}"])
        found = standing.findings()
        address = getattr(standing.lab.servers[0].addresses, family)

    what = f"packets of 1500 bytes to {address} are lost, and nobody says so: up to 1400 bytes"
    assert of(found, "mtu") == [("problem", f"{what} arrive")]
    [remedy] = [each.remedy for each in found]
    assert remedy.startswith(f"ip route replace {address}/")
    assert remedy.endswith(" dev back mtu 1400")


def test_a_server_whose_mss_outgrows_the_tunnel_is_a_warning_and_its_command_mends_it() -> None:
    with clinic(("tun",), mss=None) as standing:
        server = standing.lab.servers[0]
        found = standing.findings()
        real_server.down(server)
        command = [sys.executable, "-m", *found[0].remedy.split()]
        start_and_wait(server, [*command, "--state", server.directory / "mss"], "mss", may_end=True)
        mended = standing.findings()

    hang = "clients that hear no ICMP errors will hang"
    says = f"the server's MSS of {{}} lets clients send 1500 bytes, the tunnel takes {{}}; {hang}"
    v4, v6 = says.format(1460, 1480), says.format(1440, 1460)
    assert of(found, "mtu") == [("warning", v4), ("warning", v6)]
    assert len(found) == 2
    assert mended == []


@pytest.mark.parametrize("way", ["dr", "tun"])
def test_a_server_on_which_nobody_listens_is_a_warning(way: str) -> None:
    with Lab(name="lvsd-doctor", ways=(way, way)) as lab:
        busy, idle = lab.servers
        programs.nginx(busy, ports=[PORTS[way]])
        for server in lab.servers:
            real_server.up(server, lab.vip, mss="auto" if way == "tun" else None)
        with running(lab, forwarded(lab, way, PORTS[way])) as site:
            found = Clinic(site).findings()

    ends = [settings.at(vip, PORTS[way]) for vip in (lab.vip.v4, lab.vip.v6)]
    addresses = idle.addresses.v4, idle.addresses.v6
    assert of(found, "listening") == [
        ("warning", f"nobody listens on {end} at {address}")
        for end, address in zip(ends, addresses, strict=True)
    ]
    assert len(found) == 2


@pytest.mark.parametrize("way", ["nat", "fullnat"])
def test_a_server_that_refuses_clients_is_a_problem_until_it_takes_one(way: str) -> None:
    with clinic((way,)) as standing:
        [server] = standing.lab.servers
        closed = "{ type filter hook input priority filter; }"
        rule = f"tcp dport {MAPPING[way]} reject with tcp reset"
        server.run(["nft", f"add table inet shut; add chain inet shut it {closed}"])
        server.run(["nft", f"add rule inet shut it {rule}"])
        for _ in range(3):
            standing.visit(way, "v4")
        refused = standing.findings()
        server.run(["nft", "delete", "table", "inet", "shut"])
        standing.visit(way, "v4")
        found = standing.findings()

    [(level, what)] = of(refused, "refusing")
    assert level == "problem"
    assert " refused the last 3 connections, " in what
    assert found == []


@pytest.mark.parametrize("way", ["dr", "tun"])
def test_a_connection_that_the_doctor_opens_is_reset(way: str) -> None:
    with clinic((way,)) as standing:
        lab, server = standing.lab, standing.lab.servers[0]
        # With the virtual addresses here no reset of the director's kernel gets to the server.
        lab.director.ip(
            f"address add {lab.vip.v4}/32 dev lo", f"address add {lab.vip.v6}/128 dev lo"
        )
        found = standing.findings()

        assert found == []
        assert counter(server, "TcpExtEmbryonicRsts") == 2
        assert server.run(["ss", "-Htna", "state", "syn-recv"]).stdout == ""


def test_a_tunnel_too_narrow_for_ipv6_is_a_problem() -> None:
    with clinic(("tun",), families=("v6",)) as standing:
        standing.lab.director.ip("link set back mtu 1300")
        found = standing.findings()

    what = "the tunnel takes 1260 bytes, and IPv6 needs 1280"
    assert of(found, "mtu") == [("problem", what)]
    assert [each.remedy for each in found] == ["ip link set back mtu 1320"]


def test_exhausted_ports_are_a_problem() -> None:
    with clinic(("fullnat",), families=("v4",), local_ports="40000-40001") as standing:
        lab = standing.lab
        with contextlib.ExitStack() as held, lab.client.entered():
            for _ in range(4):
                held.enter_context(
                    socket.create_connection((lab.vip.v4, PORTS["fullnat"]), 5 * PATIENCE)
                )
            with pytest.raises(OSError, match=r"refused|timed out"):
                socket.create_connection((lab.vip.v4, PORTS["fullnat"]), 0.5)
            found = standing.findings()

    [(level, what)] = of(found, "local addresses")
    assert level == "problem"
    assert what.startswith("connections were refused because no local port was free: ")
    assert what.endswith("; 100% of the ports are in use now")


def test_packets_that_came_too_fast_are_a_warning() -> None:
    with clinic(("nat",), families=("v4",), protocol="udp") as standing:
        lab, daemon = standing.lab, standing.site.daemon.engine
        with lab.client.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            os.kill(daemon, signal.SIGSTOP)
            try:
                for _ in range(BURST):
                    sock.sendto(b"?", (lab.vip.v4, PORTS["nat"]))
            finally:
                os.kill(daemon, signal.SIGCONT)
        [(level, what)] = of(standing.findings(), "queue")

    assert level == "warning"
    assert what.startswith("packets came faster than lvsd took them: ")


def test_a_director_that_serves_needs_the_virtual_address(family: Family) -> None:
    with Lab(name="lvsd-doctor", ways=("dr",)) as lab:
        table = forwarded(lab, "dr", 82, servers=[lab.director], families=[family])
        with running(lab, table) as site:
            standing = Clinic(site)
            [finding] = standing.findings()
            standing.mend(lab.director, finding)

            vip = getattr(lab.vip, family)
            what = f"a real server of tcp-82-{family} is this host, which does not have {vip}"
            assert (finding.check, finding.level) == ("local server", "problem")
            assert finding.what == what
            assert standing.findings() == []


def test_a_killed_daemons_table_is_a_problem_until_it_is_cleaned_up() -> None:
    with Lab(name="lvsd-doctor", servers=1) as lab:
        table = forwarded(lab, "nat", 81, rport=8080)
        daemon = programs.lvsd(lab.director, f"[daemon]\nlog_format = 'json'\n{table}")
        standing = Clinic(Site(lab, daemon))
        daemon.process.kill()
        daemon.process.wait()
        killed = standing.findings()
        [problem] = [each for each in killed if each.level == "problem"]
        standing.mend(lab.director, problem)
        cleaned = standing.findings()

    off = "its counters are unknown, as it does not answer: lvsd is not running: "
    off += f"nobody listens on {daemon.control}; "
    stands = "lvsd does not run, but its nftables table is still there: packets are dropped"
    assert of(killed, "daemon") == [("problem", stands), ("warning", f"{off}start it")]
    assert [level for level, _ in of(cleaned, "daemon")] == ["warning"]


def test_in_another_network_namespace_it_says_where_to_look() -> None:
    with clinic(("nat",), families=("v4",)) as standing:
        doctor = [sys.executable, "-m", "lvsd", "doctor"]
        named = ["-c", str(standing.site.daemon.config_file)]
        lost = standing.lab.client.run([*doctor, *named, "--json"], check=False)
        again = f"nsenter -t {standing.site.daemon.process.pid} -n"
        found = standing.lab.client.run([*again.split(), *doctor, *named], check=False)

    where = f"lvsd (pid {standing.site.daemon.process.pid}) runs in another network namespace"
    command = shlex.join([*again.split(), "lvsd", "doctor", *named])
    assert (lost.returncode, lost.stdout) == (os.EX_USAGE, "")
    assert lost.stderr == f"lvsd: {where}: use `{command}`\n"
    assert found.returncode == 0, found.stdout


def test_a_table_that_somebody_removes_stands_again_and_is_no_problem() -> None:
    with clinic(("nat",), families=("v4",)) as standing:
        director, daemon = standing.lab.director, standing.site.daemon
        # A kernel that knows owners refuses.
        director.run(["nft", "delete", "table", "inet", "lvsd"], check=False)
        assert until(lambda: of(standing.findings(), "daemon") == [])
        assert daemon.process.poll() is None
