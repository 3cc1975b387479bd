"""UDP in every mode: dnsmasq's answers to dig, and datagrams larger than the links take."""

from __future__ import annotations

import contextlib
import itertools
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, real_server
from lvsd.lab.wait import PATIENCE, until
from tests.netns.modes.site import assert_in_turn, forwarded, reached
from tests.netns.name_server import dnsmasq
from tests.netns.traffic.site import running
from tests.netns.traffic.sockets import MAX_DATAGRAM, udp, udp_echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.traffic.site import Family, Site

NAMES = {"nat": 5301, "dr": 5302, "tun": 5303, "fullnat": 5304}
"""The service of names, by mode, and the real servers' port."""

MAPPED = {"nat": 5353, "fullnat": 5353}
ECHOES = {"nat": 7001, "dr": 7002, "tun": 7003, "fullnat": 7004}
ECHO = {"nat": 7007, "fullnat": 7007}

MTU = 1500
HEADERS = {"v4": 28, "v6": 48}
"""Bytes of the IP and UDP header."""

PROXY_PORT = 7005
PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

SOURCE_PORTS = itertools.count(20001)
"""dig's ports: each once, as a query from a port of before belongs to that one's connection."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Serve names and echo in every mode, by two servers each."""
    ways = [way for way in NAMES for _ in range(2)]
    with Lab(name="lvsd-modes", ways=ways) as lab, contextlib.ExitStack() as stack:
        for server in lab.servers:
            way = server.way
            real_server.up(server, lab.vip)
            dnsmasq(server, MAPPED.get(way, NAMES[way]))
            # On a virtual address, so that answers come from there; else on all of the server's.
            virtual = (f"::ffff:{lab.vip.v4}", lab.vip.v6)
            for address in virtual if way in {"dr", "tun"} else ("::",):
                stack.enter_context(udp_echo(server, ECHO.get(way, ECHOES[way]), address))
        tables = [
            forwarded(lab, way, ports[way], rport=rports.get(way), protocol="udp")
            for ports, rports in ((NAMES, MAPPED), (ECHOES, ECHO))
            for way in ports
        ]
        told = forwarded(
            lab,
            "fullnat",
            PROXY_PORT,
            rport=ECHO["fullnat"],
            protocol="udp",
            client_address="proxy-v2",
        )
        yield stack.enter_context(running(lab, *tables, told))


def dig(site: Site, family: Family, way: str, *options: str) -> str:
    port = str(NAMES[way])
    command = ["dig", f"+timeout={30 * PATIENCE:g}", "+tries=1", "+notcp", *options, "-p", port]
    command += ["-b", f"{site.source(family)}#{next(SOURCE_PORTS)}"]
    return site.lab.client.run([*command, f"@{site.vip(family)}"]).stdout


def test_the_servers_answer_queries_in_turn(site: Site, way: str, family: Family) -> None:
    answers = [
        dig(site, family, way, "+short", "who.lab", "TXT").strip().strip('"') for _ in range(4)
    ]

    assert_in_turn(answers, [server.host for server in reached(site.lab, way)[::-1]])


def test_a_large_answer_comes_in_fragments(site: Site, way: str, family: Family) -> None:
    answer = dig(site, family, way, "+bufsize=4096", "+ignore", "big.lab", "TXT")

    assert "flags: qr aa rd ra;" in answer  # without tc
    assert answer.count("x" * 80) == 30


@pytest.mark.parametrize("length", [0, 1412, 1473, 3000, 9000, 65000])
def test_a_datagram_passes_whatever_its_length(
    site: Site, way: str, family: Family, length: int
) -> None:
    data = bytes(number * 7 & 0xFF for number in range(length))

    with udp(site.lab.client, family) as sock:
        sock.sendto(data, (site.vip(family), ECHOES[way]))
        answer, peer = sock.recvfrom(MAX_DATAGRAM)

    assert peer[:2] == (site.vip(family), ECHOES[way])
    name, _, said = answer.partition(b" ")
    assert name.decode() in {server.host for server in reached(site.lab, way)}
    assert said == data


@pytest.mark.parametrize("port", [ECHOES["tun"], PROXY_PORT])
def test_what_grows_too_long_on_the_way_comes_when_it_is_sent_again(
    site: Site, family: Family, port: int
) -> None:
    full = bytes(MTU - HEADERS[family])

    with udp(site.lab.client, family, site.source(family, 9)) as sock:
        sock.connect((site.vip(family), port))
        sock.setblocking(False)
        answers: list[bytes] = []

        def answered() -> bool:
            with contextlib.suppress(OSError):  # nothing yet, or what the kernel has learned
                answers.append(sock.recv(MAX_DATAGRAM))
                return True
            with contextlib.suppress(OSError):
                sock.send(full)
            return False

        assert until(answered)
    assert answers[0].endswith(full)


@pytest.mark.parametrize("length", [1, 1400, 3000])
def test_a_proxy_header_is_in_front_of_a_datagram(site: Site, family: Family, length: int) -> None:
    data = bytes(number * 7 & 0xFF for number in range(length))

    with udp(site.lab.client, family, site.source(family, 3)) as sock:
        sock.sendto(data, (site.vip(family), PROXY_PORT))
        answer = sock.recv(MAX_DATAGRAM).partition(b" ")[2]
        source, port, *_ = sock.getsockname()

    # https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2
    size = 16 + {"v4": 12, "v6": 36}[family]
    header = answer[:size]
    assert (header[:12], answer[size:]) == (PROXY_SIGNATURE, data)
    assert header[12:14] == {"v4": b"\x21\x12", "v6": b"\x21\x22"}[family]
    assert header[14:16] == (size - 16).to_bytes(2, "big")
    width = {"v4": 4, "v6": 16}[family]
    ends = [header[16 : 16 + width], header[16 + width : 16 + 2 * width]]
    assert ends == [ip_address(each).packed for each in (source, site.vip(family))]
    ports = header[16 + 2 * width :]
    assert ports == port.to_bytes(2, "big") + PROXY_PORT.to_bytes(2, "big")
