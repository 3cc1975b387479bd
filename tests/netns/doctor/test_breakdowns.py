"""Faults that take a lab of their own to make, and what the doctor says of each."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from lvsd.lab import Lab, programs
from lvsd.lab.wait import PATIENCE, until
from tests.netns.doctor.site import PORTS, Clinic, clinic, of
from tests.netns.modes.site import MAPPED, forwarded
from tests.netns.traffic.site import Site, running

BURST = 5000
"""More packets than the queue holds by default."""


def test_a_shorter_path_is_a_warning_while_routers_say_so() -> None:
    with clinic(("tun", "fullnat"), far_mtu=1400) as standing:
        found = standing.findings()
        addresses = [server.addresses for server in standing.lab.servers]

    takes = "the path to {} takes 1400 bytes, not 1500; its routers say so"
    assert sorted(of(found, "mtu")) == sorted(
        ("warning", takes.format(address)) for pair in addresses for address in (pair.v4, pair.v6)
    )
    assert {each.check for each in found} == {"mtu"}


def test_a_shorter_path_that_nobody_speaks_of_is_a_problem_of_either_family() -> None:
    with clinic(("fullnat",), far_mtu=1400) as standing:
        silent = "type filter hook output priority 0; icmp type 3 drop; icmpv6 type 2 drop;"
        standing.lab.router.run(["nft", f"table inet silent {{ chain it {{ {silent} }}; }}"])
        found = standing.findings()
        server = standing.lab.servers[0].addresses

    for address, finding in zip((server.v4, server.v6), found, strict=True):
        lost = f"packets of 1500 bytes to {address} are lost, and nobody says so"
        told = (finding.check, finding.level, finding.what)
        assert told == ("mtu", "problem", f"{lost}: up to 1400 bytes arrive")
        assert finding.remedy.startswith(f"ip route replace {address}/")
        assert finding.remedy.endswith(" dev back mtu 1400")


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


def test_a_service_with_all_servers_drained_is_a_problem_until_one_is_taken_back() -> None:
    with clinic(("nat",), families=("v6",)) as standing:
        server = f"[{standing.lab.servers[0].addresses.v6}]:{MAPPED}"
        standing.site.lvsadm("drain", server)
        [drained] = standing.findings()
        program, *words = drained.remedy.split()
        standing.site.lvsadm(*words)
        taken_back = standing.findings()

    assert (drained.check, drained.level, program) == ("no server", "problem", "lvsadm")
    assert drained.what.endswith("no server takes connections (1 drained)")
    assert taken_back == []


def test_a_killed_forker_is_a_warning() -> None:
    with Lab(name="lvsd-doctor", servers=1) as lab:
        daemon = programs.lvsd(lab.director, forwarded(lab, "nat", 81, rport=8080))
        standing = Clinic(Site(lab, daemon))
        parent = daemon.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii")
        os.kill(int(children), signal.SIGKILL)
        assert until(lambda: standing.findings() != [])
        found = standing.findings()
        status = standing.site.lvsadm("--status")

    what = "the process that forks engines has ended: should the engine end, so does lvsd"
    assert of(found, "daemon") == [("warning", what)]
    assert "forker_ended" in status


def test_a_director_that_serves_needs_the_virtual_address_of_either_family() -> None:
    with Lab(name="lvsd-doctor", ways=("dr",)) as lab:
        table = forwarded(lab, "dr", 82, servers=[lab.director])
        with running(lab, table) as site:
            standing = Clinic(site)
            found = standing.findings()
            for finding in found:
                standing.mend(lab.director, finding)
            mended = standing.findings()

    missing = "a real server of tcp-82-{} is this host, which does not have {}"
    assert [(each.check, each.level, each.what) for each in found] == [
        ("local server", "problem", missing.format("v4", lab.vip.v4)),
        ("local server", "problem", missing.format("v6", lab.vip.v6)),
    ]
    assert mended == []


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
