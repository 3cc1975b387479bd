"""Real servers of the lab are prepared for their way, by the command that operators use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.lab import Lab, programs, real_server, settings
from lvsd.lab.plan import WAYS
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    """Build a lab with a prepared server of each way."""
    with Lab(name="lvsd-test", ways=WAYS) as lab:
        for space in lab.servers:
            real_server.up(space, lab.vip)
        yield lab


def local(space: Namespace) -> list[str]:
    """Return the addresses on lo, without those of every host."""
    shown = space.run(["ip", "-brief", "address", "show", "dev", "lo"]).stdout
    return [
        text for text in re.findall(r"\S+/\d+", shown) if text not in {"127.0.0.1/8", "::1/128"}
    ]


def test_servers_of_dr_and_tun_have_the_virtual_address_and_no_others(mixed: Lab) -> None:
    vip = [f"{mixed.vip.v4}/32", f"{mixed.vip.v6}/128"]

    assert {space.way: local(space) for space in mixed.servers} == {
        "nat": [],
        "dr": vip,
        "tun": vip,
        "fullnat": [],
    }


def test_a_server_of_dr_answers_for_the_virtual_address_whoever_routes_it_there(
    mixed: Lab,
) -> None:
    server = mixed.servers[WAYS.index("dr")]
    web = programs.nginx(server)
    # What DR does: the packet as it is, to the real server's MAC.
    ways = [
        f"route add {vip} via {rip} dev back"
        for vip, rip in (
            (mixed.vip.v4, server.addresses.v4),
            (mixed.vip.v6, server.addresses.v6),
        )
    ]
    mixed.director.ip(*ways)
    mixed.director.sysctl("net.ipv4.ip_forward", "1")
    mixed.director.sysctl("net.ipv6.conf.all.forwarding", "1")
    try:
        urls = [f"http://{settings.at(vip, 80)}/" for vip in (mixed.vip.v4, mixed.vip.v6)]
        answers = [
            mixed.client.run(["curl", "-sS", "-m", f"{5 * PATIENCE:g}", url]).stdout for url in urls
        ]
    finally:
        mixed.director.ip(*(line.replace("add", "delete") for line in ways))
        web.stop()

    client = mixed.client.addresses
    assert answers == [f"server2 {client.v4}\n", f"server2 {client.v6}\n"]


@pytest.mark.parametrize(("tunnel", "port"), [("ipip", None), ("gue", 6080), ("gre", None)])
def test_a_server_can_be_put_back_and_prepared_for_another_tunnel(
    tunnel: str, port: int | None
) -> None:
    with Lab(name="lvsd-test", ways=("tun",)) as lab:
        (server,) = lab.servers
        real_server.up(server, lab.vip, tunnel="gre")

        real_server.down(server)
        assert local(server) == []
        program = real_server.up(server, lab.vip, tunnel=tunnel, port=port)

        assert local(server) == [f"{lab.vip.v4}/32", f"{lab.vip.v6}/128"]
        assert program is not None
        assert tunnel in program.log or program.process.poll() is None


def test_what_the_command_says_is_quoted_when_it_fails(mixed: Lab) -> None:
    server = mixed.servers[WAYS.index("dr")]

    with pytest.raises(KernelError, match=r"ended with status 64; it said: .*cannot be a virtual"):
        real_server.up(server, type(mixed.vip)("224.0.0.1", "ff02::1"))
