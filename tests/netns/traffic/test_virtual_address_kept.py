"""A virtual address comes back after somebody took it away, and its link is told."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.io.sysctls import FORWARDING
from lvsd.lab import Lab
from lvsd.lab.wait import until
from lvsd.packet.address import pack
from lvsd.packet.neighbour import announcement
from tests.netns.traffic.site import PATIENCE_S, both, running
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT, RPORT = 80, 8080
ALL_PROTOCOLS = 3  # ETH_P_ALL


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have a director whose configuration names an interface `late`."""
    with Lab(name="lvsd-kept", servers=1) as lab:
        yield lab


@pytest.fixture(autouse=True)
def without_late(lab: Lab) -> Iterator[None]:
    """Leave no interface `late` behind."""
    before = state(lab.director)
    yield
    lab.director.run(["ip", "link", "delete", "late"], check=False)
    assert changes(before, state(lab.director)) == {}


def make(lab: Lab) -> None:
    """Make the interface, and `peer` on the other end of its link, both in the director."""
    lab.director.ip(
        "link add late address 02:00:00:00:00:77 type veth peer name peer",
        "link set peer up",
        "link set late up",
    )


def has_both(lab: Lab) -> bool:
    """Whether `late` has the virtual addresses of both families."""
    shown = lab.director.run(["ip", "-j", "address", "show", "dev", "late"], check=False).stdout
    return {lab.vip.v4, lab.vip.v6} <= {
        address["local"] for link in json.loads(shown or "[]") for address in link["addr_info"]
    }


def announcements(lab: Lab) -> set[bytes]:
    """Return the frames by which `late` announces its addresses: lvsd forwards IPv6 for NAT."""
    mac = bytes.fromhex("020000000077")
    return {announcement(pack(each), mac, is_router=True) for each in (lab.vip.v4, lab.vip.v6)}


def listen(lab: Lab) -> socket.socket:
    """Hear what arrives at the other end of the link."""
    with lab.director.entered():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        heard.bind(("peer", 0))
    heard.settimeout(PATIENCE_S)
    return heard


def expect(heard: socket.socket, wanted: set[bytes], times: int) -> None:
    """Wait until each frame has come so many times."""
    left = dict.fromkeys(wanted, times)
    while any(number > 0 for number in left.values()):
        frame = heard.recv(2048)
        if frame in left:
            left[frame] -= 1


def test_an_interface_that_appears_late_gets_its_address(lab: Lab) -> None:
    with running(lab, both(lab, PORT, RPORT, interface="late")) as site:
        assert until(lambda: "the interface of a virtual address does not" in site.daemon.log)
        assert site.call("status")["groups"]["virtual_addresses"]["missing"] == 2
        make(lab)
        with listen(lab) as heard:
            assert until(lambda: has_both(lab))
            expect(heard, announcements(lab), 2)  # the first of three may be too early to be heard
        assert site.call("status")["groups"]["virtual_addresses"]["missing"] == 0


def test_it_is_announced_three_times_at_the_start(lab: Lab) -> None:
    make(lab)
    with listen(lab) as heard, running(lab, both(lab, PORT, RPORT, interface="late")):
        expect(heard, announcements(lab), 3)


def test_an_address_that_somebody_took_away_is_put_back_said_and_announced(lab: Lab) -> None:
    make(lab)
    with listen(lab) as heard, running(lab, both(lab, PORT, RPORT, interface="late")) as site:
        expect(heard, announcements(lab), 3)
        lab.director.ip("address flush dev late")
        assert until(lambda: has_both(lab))
        assert until(lambda: "somebody took it away" in site.daemon.log)
        expect(heard, announcements(lab), 3)


def test_after_ifdown_and_ifup_it_is_there_and_announced(lab: Lab) -> None:
    make(lab)
    with listen(lab) as heard, running(lab, both(lab, PORT, RPORT, interface="late")):
        expect(heard, announcements(lab), 3)
        lab.director.ip("link set late down", "address flush dev late", "link set late up")
        assert until(lambda: has_both(lab))
        expect(heard, announcements(lab), 3)


def test_an_interface_that_is_made_anew_gets_its_address_again(lab: Lab) -> None:
    make(lab)
    with running(lab, both(lab, PORT, RPORT, interface="late")):
        assert until(lambda: has_both(lab))
        lab.director.ip("link delete late")
        make(lab)
        assert until(lambda: has_both(lab))


@pytest.mark.parametrize("family", [4, 6])
def test_forwarding_that_somebody_switched_off_is_said_and_left_alone(
    lab: Lab, family: int
) -> None:
    make(lab)
    name = FORWARDING[family]
    with running(lab, both(lab, PORT, RPORT, interface="late")) as site:
        lab.director.sysctl(name, "0")
        assert until(lambda: "somebody switched the kernel's forwarding off" in site.daemon.log)
        assert lab.director.sysctl_value(name) == "0"
