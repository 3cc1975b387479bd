"""Services of which no real server takes connections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.doctor.checks import no_server
from lvsd.doctor.snapshot import Server, Service
from lvsd.packet.address import pack
from tests.unit.doctor.cases import said, snapshot

TCP = Service("web", "tcp", pack("192.0.2.10"), 80, 4, ())
UDP6 = Service("dns", "udp", pack("2001:db8::10"), 53, 6, ())
MARK = Service("marked", "ip", b"", 0, 4, ())


def server(number: int, *, weight: int = 1, is_drained: bool = False) -> Server:
    """Return one of NAT."""
    return Server(pack(f"10.0.0.{number}"), 8080, "nat", weight=weight, is_drained=is_drained)


DRAINED = [server(number, is_drained=True) for number in (11, 12, 13)]


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        (DRAINED, "3 drained"),
        ([server(11, weight=0), server(12, weight=0)], "2 of weight 0"),
        ([server(11, weight=0), DRAINED[1]], "1 drained, 1 of weight 0"),
        ([server(11, weight=0, is_drained=True)], "1 of weight 0"),
        ([], "it has none"),
    ],
)
def test_a_service_that_refuses_every_client_is_a_problem(servers: list[Server], why: str) -> None:
    given = snapshot(replace(TCP, servers=tuple(servers)))
    expected = f"service web: no server takes connections ({why})"
    assert said(no_server.CHECK, given) == [("problem", expected)]


@pytest.mark.parametrize("usable", [server(14), server(14, weight=3)])
def test_one_usable_server_is_enough(usable: Server) -> None:
    given = snapshot(replace(TCP, servers=(*DRAINED, server(15, weight=0), usable)))
    assert said(no_server.CHECK, given) == []


@pytest.mark.parametrize(
    ("service", "remedy"),
    [
        (TCP, "lvsadm undrain 10.0.0.11:8080 -t 192.0.2.10:80"),
        (UDP6, "lvsadm undrain 10.0.0.11:8080 -u [2001:db8::10]:53"),
        (MARK, "lvsadm undrain 10.0.0.11:8080"),
    ],
)
def test_the_remedy_takes_a_drained_server_back(service: Service, remedy: str) -> None:
    given = snapshot(replace(service, servers=(server(10, weight=0), *DRAINED)))
    [finding] = no_server.CHECK.look(given)
    assert (finding.remedy, finding.at) == (remedy, "")


@pytest.mark.parametrize(
    ("servers", "remedy"),
    [
        ((server(11, weight=0, is_drained=True),), "give one of its servers a weight"),
        ((), "add a server to it"),
    ],
)
def test_where_none_can_be_taken_back_the_configuration_has_to_change(
    servers: tuple[Server, ...], remedy: str
) -> None:
    [finding] = no_server.CHECK.look(snapshot(replace(TCP, servers=servers)))
    assert (finding.remedy, finding.at) == (f"{remedy}, then lvsd reload", "the configuration")
