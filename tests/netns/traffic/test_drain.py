"""A real server is drained under real traffic, by the command that an operator types."""

from __future__ import annotations

import http.client
import socket
import struct
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.lab import programs, settings
from lvsd.lab.plan import BACK, DIRECTOR
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import Site, balanced, complaints, of, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.control.protocol import ServerEntry
    from lvsd.lab import Lab
    from lvsd.lab.traffic import Connection
    from tests.netns.traffic.site import Family

RPORT = 8080
PORTS = {"nat": 80, "fullnat": 81, "persistent": 82}
ALONE = 83
DEADLINE_S = 3
HOLD_S = 600


@pytest.fixture
def site(web_lab: Lab) -> Iterator[Site]:
    """Run NAT and FULLNAT to the same two servers, with persistence, too."""
    tables = []
    for family in ("v4", "v6"):
        own = [of(BACK.host(DIRECTOR), family)]
        options: dict[str, dict[str, Any]] = {
            "nat": {},
            "fullnat": {"forward": "fullnat", "local_addresses": own},
            "persistent": {"persistence_s": 3600},
        }
        for way, port in PORTS.items():
            tables.append(balanced(web_lab, family, port, RPORT, servers=slice(2), **options[way]))
    with running(web_lab, "\n".join(tables)) as site:
        yield site


def server_of(site: Site, connection: Connection, family: Family) -> str:
    """Return the endpoint of the real server that answered."""
    number = int(connection.answer.server.removeprefix("server"))
    return settings.at(of(site.lab.servers[number - 1].addresses, family), RPORT)


def lvsadm(site: Site, *words: str) -> subprocess.Popen[str]:
    """Begin a command."""
    command = [sys.executable, "-m", "lvsd.control.lvsadm", *words]
    command += ["--control", str(site.daemon.control)]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE)


def entry(site: Site, server: str, port: int) -> ServerEntry:
    """Return what is listed of a server in the service at that port."""
    return next(
        each
        for service in site.services
        for each in service["servers"]
        if service["port"] == port and settings.at(each["address"], each["port"]) == server
    )


@pytest.mark.parametrize("way", ["nat", "fullnat"])
def test_a_drained_server_keeps_its_connections_up_to_the_deadline(
    site: Site, family: Family, way: str
) -> None:
    visitor = Visitor(site.lab.client, site.vip(family), PORTS[way])
    with closing(visitor.open(site.source(family))) as held:
        server = server_of(site, held, family)
        waiting = lvsadm(site, "drain", server, "--deadline", f"{DEADLINE_S}s", "--wait")
        until(lambda: entry(site, server, PORTS[way])["drain"] is not None)
        others = {visitor.get(site.source(family)).server for _ in range(4)}
        assert held.answer.server not in others
        assert held.ask_again() == held.answer.server
        _, complaint = waiting.communicate(timeout=60 * PATIENCE)
        assert waiting.returncode == 3
        assert f"{server} of TCP  {settings.at(site.vip(family), PORTS[way])}: the deadline" in (
            complaint
        )
        with pytest.raises((OSError, http.client.HTTPException)):
            held.ask_again()
    assert lvsadm(site, "undrain", server).wait(60 * PATIENCE) == 0
    assert {visitor.get(site.source(family)).server for _ in range(4)} == {"server1", "server2"}


def test_who_waits_and_who_listens_hears_that_the_last_client_has_left(
    site: Site, family: Family
) -> None:
    visitor = Visitor(site.lab.client, site.vip(family), ALONE)
    service = {"protocol": "tcp", "address": site.vip(family), "port": ALONE}
    add = {"command": "add_service", "service": service | {"scheduler": "rr"}}
    servers = [
        {
            "command": "add_server",
            "service": service,
            "server": {"address": of(each.addresses, family), "port": RPORT},
        }
        for each in site.lab.servers[:2]
    ]
    site.call("change", commands=[add, *servers])
    only = ["-t", settings.at(site.vip(family), ALONE)]
    with ControlClient(site.daemon.control) as listener:
        events = listener.events()
        held = visitor.open(site.source(family))
        server = server_of(site, held, family)
        waiting = lvsadm(site, "drain", server, "--wait", *only)
        until(lambda: entry(site, server, ALONE)["drain"] is not None)
        assert waiting.poll() is None
        reset(held)
        told = next(each for each in events if each["change"] == "server_empty")
        assert (told["service"], told["cut"]) == (service, 0)
        assert settings.at(told["server"]["address"], told["server"]["port"]) == server
    assert waiting.wait(60 * PATIENCE) == 0
    site.call("change", commands=[{"command": "remove_service", "service": service}])


def reset(connection: Connection) -> None:
    """Close a connection by a RST, of which nothing is left but ten seconds."""
    linger = struct.pack("ii", 1, 0)
    connection.http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def test_a_persistent_client_leaves_and_its_connection_goes_on(site: Site, family: Family) -> None:
    visitor = Visitor(site.lab.client, site.vip(family), PORTS["persistent"])
    with closing(visitor.open(site.source(family, 1))) as held:
        assert {visitor.get(site.source(family, 1)).server for _ in range(3)} == {
            held.answer.server
        }
        server = server_of(site, held, family)
        assert lvsadm(site, "drain", server).wait(60 * PATIENCE) == 0
        assert held.answer.server != visitor.get(site.source(family, 1)).server
        assert held.ask_again() == held.answer.server
    assert lvsadm(site, "undrain", server).wait(60 * PATIENCE) == 0


def test_a_drain_outlives_a_restart_with_its_deadline_and_its_connections(
    web_lab: Lab, family: Family
) -> None:
    service = balanced(web_lab, family, PORTS["nat"], RPORT, servers=slice(2))
    head = f'[daemon]\nlog_format = "json"\nhold_s = {HOLD_S}\n'
    site = Site(web_lab, programs.lvsd(web_lab.director, f"{head}{service}"))
    visitor = Visitor(site.lab.client, site.vip(family), PORTS["nat"])
    with closing(visitor.open(site.source(family))) as held:
        server = server_of(site, held, family)
        assert lvsadm(site, "drain", server, "--deadline", "1h").wait(60 * PATIENCE) == 0
        assert site.daemon.stop() == 0
        last = head.replace(f"hold_s = {HOLD_S}", "hold_s = 0")
        restarted = Site(site.lab, programs.lvsd(web_lab.director, f"{last}{service}"))
        try:
            drain = entry(restarted, server, PORTS["nat"])["drain"]
            assert drain is not None
            assert drain["left_s"] is not None
            assert 0 < drain["left_s"] <= 3600
            others = {visitor.get(site.source(family)).server for _ in range(4)}
            assert held.answer.server not in others
            assert held.ask_again() == held.answer.server
            with ControlClient(restarted.daemon.control) as listener:
                events = listener.events()
                assert lvsadm(restarted, "undrain", server).wait(60 * PATIENCE) == 0
                assert next(events)["change"] == "server_undrained"
            assert entry(restarted, server, PORTS["nat"])["drain"] is None
        finally:
            status = restarted.daemon.stop()
        assert (status, complaints(restarted.daemon.log_file)) == (0, [])
