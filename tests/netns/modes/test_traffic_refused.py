"""What cannot work is refused, counted and logged: never a silent black hole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, settings
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, forwarded, reached
from tests.netns.traffic.site import FAMILIES, of, running, table
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

FOREIGN, UNREACHABLE, BARE = 81, 82, 83
"""Ports of services: local addresses that are not ours, no route, a server without the VIP."""

NOWHERE = {"v4": "203.0.113.99:82", "v6": "[2001:db8:dead::99]:82"}
ALIEN = {"v4": "10.0.0.77", "v6": "fd00:10::77"}
CALLERS = 3
"""Clients that call at once, as three repeated SYNs make a warning; one alone takes 7 s."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have a server for DR and one for FULLNAT; none has the virtual address."""
    with Lab(name="lvsd-modes", ways=("dr", "fullnat")) as lab:
        yield lab


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Run lvsd with all that a configuration alone does not show to be wrong."""
    tables = [forwarded(lab, "dr", BARE)]
    for family in FAMILIES:
        local = [ALIEN[family]]
        tables += [
            forwarded(
                lab,
                "fullnat",
                FOREIGN,
                rport=MAPPED,
                families=[family],
                local_addresses=local,
            ),
            table(
                f"tcp-{UNREACHABLE}-{family}",
                {NOWHERE[family]: 1},
                address=settings.at(of(lab.vip, family), UNREACHABLE),
                protocol="tcp",
                forward="tun",
            ),
        ]
    with running(lab, *tables) as site:
        yield site


def warnings(site: Site, event: str) -> list[dict[str, str]]:
    """Return the log's warnings of that kind."""
    lines = map(json.loads, site.daemon.log.splitlines())
    return [line for line in lines if (line["level"], line["event"]) == ("warning", event)]


def call(site: Site, family: Family, port: int) -> int:
    """Connect; return the errno that comes of it."""
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        return sock.connect_ex((site.vip(family), port))


def test_local_addresses_of_others_are_logged_and_clients_refused(
    site: Site, family: Family
) -> None:
    before = site.drops["no_local_port"]

    refused = call(site, family, FOREIGN)

    assert (refused, site.drops["no_local_port"] - before) == (errno.ECONNREFUSED, 1)
    logged = warnings(site, "a local address is not on this host")
    [remedy] = [line["remedy"] for line in logged if line["address"] == ALIEN[family]]
    assert remedy.startswith(f"ip address add {ALIEN[family]}/")


def test_a_local_address_that_is_added_later_serves(site: Site, family: Family) -> None:
    (server,) = reached(site.lab, "fullnat")
    director = site.lab.director
    address = f"{ALIEN[family]}/24" if family == "v4" else f"{ALIEN[family]}/64"

    director.ip(f"address add {address} dev back {'nodad' if family == 'v6' else ''}")
    try:
        with opened(server, family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((of(server.addresses, family), MAPPED))
            listener.listen()
            assert until(lambda: call(site, family, FOREIGN) == 0)
            _, peer = listener.accept()
    finally:
        director.ip(f"address delete {address} dev back")

    assert peer[0] == ALIEN[family]


def test_a_server_without_a_route_is_logged_and_clients_refused(site: Site, family: Family) -> None:
    before = site.drops["no_route"]

    refused = call(site, family, UNREACHABLE)

    assert (refused, site.drops["no_route"] - before) == (errno.ECONNREFUSED, 1)
    logged = warnings(site, "no route to a real server")
    assert NOWHERE[family] in {line["address"] for line in logged}


def test_a_server_without_the_virtual_address_is_logged_once(site: Site, family: Family) -> None:
    event = "clients repeat their SYNs: a real server seems not to answer them"
    server = settings.at(of(reached(site.lab, "dr")[0].addresses, family), BARE)
    silent = f"{server} of tcp-{BARE}-{family}"

    with contextlib.ExitStack() as stack:
        for _ in range(CALLERS):
            sock = stack.enter_context(opened(site.lab.client, family, socket.SOCK_STREAM))
            sock.setblocking(False)
            assert sock.connect_ex((site.vip(family), BARE)) == errno.EINPROGRESS
        uptime_s = site.call("status")["uptime_s"]

        assert until(lambda: silent in {line["address"] for line in warnings(site, event)})
        assert until(lambda: site.call("status")["uptime_s"] >= uptime_s + 3)

    [line] = [line for line in warnings(site, event) if line["address"] == silent]
    assert "lvsd realserver status" in line["remedy"]


@pytest.mark.parametrize("way", ["dr", "tun"])
def test_the_check_refuses_another_port_where_none_can_be_mapped(
    lab: Lab, family: Family, way: str
) -> None:
    servers = reached(lab, "dr")
    text = forwarded(lab, way, 80, servers=servers, rport=MAPPED, families=[family])
    file = lab.directory / "wrong.toml"
    file.write_text(text, "utf-8")

    checked = lab.director.run([sys.executable, "-m", "lvsd", "-t", "-c", file], check=False)

    assert (checked.returncode, checked.stdout) == (os.EX_CONFIG, "")
    address = settings.at(of(servers[0].addresses, family), MAPPED)
    reason = f'"{address}" has port 8080, expected 80 as its service: {way} changes no port'
    assert reason in checked.stderr


def test_the_check_refuses_fullnat_without_local_addresses(lab: Lab, family: Family) -> None:
    file = lab.directory / "wrong.toml"
    text = forwarded(lab, "fullnat", 80, families=[family], local_addresses=[])
    file.write_text(text, "utf-8")

    checked = lab.director.run([sys.executable, "-m", "lvsd", "-t", "-c", file], check=False)

    assert (checked.returncode, checked.stdout) == (os.EX_CONFIG, "")
    assert "local_addresses: empty, expected with forward" in checked.stderr
