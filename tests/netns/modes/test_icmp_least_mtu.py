"""Where nothing wider than 1280 bytes leads to the real servers, IPv6 gets through all the same.

A host does not believe in a smaller MTU (RFC 8201, section 4), so packets of 1280 bytes must
arrive, whatever the director adds to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from lvsd.lab import Lab, real_server
from lvsd.lab.plan import MIN_MTU
from tests.netns.modes.icmp_site import (
    PORT_UNREACHABLE,
    TOO_BIG,
    answered,
    forget,
    learned_mtu,
    unlimit,
    uploaded,
)
from tests.netns.modes.site import forwarded, reached
from tests.netns.traffic.icmp_errors import IcmpError
from tests.netns.traffic.site import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Site

SERVICES: Final[dict[str, tuple[int, str, dict[str, Any]]]] = {
    "tun": (7001, "tun", {}),
    "fullnat-toa": (7002, "fullnat", {"client_address": "toa"}),
    "fullnat-proxy-v2": (7003, "fullnat", {"client_address": "proxy-v2"}),
}
"""The port of TCP, the way and its keys; UDP's port is 100 more."""

UDP: Final = 100
UPLOAD_BYTES: Final = 300_000


@pytest.fixture(scope="module")
def least_site() -> Iterator[Site]:
    """Have the servers behind links of the least MTU that IPv6 allows."""
    with Lab(name="lvsd-icmp", ways=["tun", "fullnat"], far_mtu=MIN_MTU) as lab:
        for space in lab.servers:
            real_server.up(space, lab.vip)
        unlimit(lab)
        tables = [
            forwarded(lab, way, port + udp, families=["v6"], protocol=protocol, **keys)
            for port, way, keys in SERVICES.values()
            for protocol, udp in (("tcp", 0), ("udp", UDP))
        ]
        with running(lab, *tables) as site:
            yield site


@pytest.mark.parametrize("service", SERVICES)
def test_the_least_mtu_is_told_and_what_has_it_arrives(least_site: Site, service: str) -> None:
    client, vip, port = least_site.lab.client, least_site.vip("v6"), SERVICES[service][0] + UDP
    forget(client)

    refused = answered(least_site, "v6", port, MIN_MTU + 100)
    arrived = answered(least_site, "v6", port, MIN_MTU)

    assert (refused.kind, refused.code, refused.info) == (*TOO_BIG["v6"], MIN_MTU)
    assert learned_mtu(client, vip) == MIN_MTU
    assert arrived == IcmpError(*PORT_UNREACHABLE["v6"], 0, vip)


@pytest.mark.parametrize("service", SERVICES)
def test_an_upload_arrives(least_site: Site, service: str) -> None:
    port, way, _ = SERVICES[service]
    [server] = reached(least_site.lab, way)
    sent = bytes(UPLOAD_BYTES)
    forget(least_site.lab.client)

    received = uploaded(least_site, server, "v6", (port, port), sent)

    assert received[-UPLOAD_BYTES:] == sent
