"""What the checks make of the answers to SYNs, and who is sent one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lvsd.doctor import questions
from lvsd.doctor.checks import listening, mtu
from lvsd.doctor.snapshot import Answer, Echo, Handshake, Snapshot, Syn
from lvsd.packet.address import text
from tests.unit.doctor.cases import (
    DIRECTOR,
    DR,
    MAC,
    MACHINE,
    TUN,
    VIP,
    answering,
    said,
    service,
    snapshot,
    way,
)

HANGS = "; clients that hear no ICMP errors will hang"
UP = "lvsd realserver up --mode tun --vip 192.0.2.10 --tunnel ipip --from 10.0.0.1 --mss"


def shaken(handshake: Handshake | None, mtu_: int = 1500, address: bytes = TUN) -> Snapshot:
    """Return a snapshot of one server, with what its SYN came to, on links of that MTU."""
    good = snapshot(service(address))
    machine = replace(MACHINE, ways={address: way(address, mtu_)})
    full = questions.full_size(machine, good.services[0].servers[0])
    given = answering(replace(good, machine=machine), full, Answer("back", MAC))
    handshakes = dict.fromkeys(questions.syns(good), handshake) if handshake else {}
    return replace(given, answers=replace(given.answers, handshakes=handshakes))


@pytest.mark.parametrize(
    ("mss", "link", "sent", "remedy"),
    [
        (1441, 1500, "1441 lets clients send 1481 bytes, the tunnel takes 1480", "auto"),
        (1460, 1500, "1460 lets clients send 1500 bytes, the tunnel takes 1480", "auto"),
        (8960, 1500, "8960 lets clients send 1500 bytes, the tunnel takes 1480", "1420"),
        (1440, 1400, "1440 lets clients send 1480 bytes, the tunnel takes 1380", "1320"),
    ],
)
def test_an_mss_that_outgrows_the_tunnel_is_a_warning(
    mss: int, link: int, sent: str, remedy: str
) -> None:
    [finding] = mtu.CHECK.look(shaken(Handshake(accepted=True, mss=mss), link))
    assert (finding.level.name, finding.what) == ("WARNING", f"the server's MSS of {sent}{HANGS}")
    assert (finding.remedy, finding.at) == (f"{UP} {remedy}", "10.2.0.11")


@pytest.mark.parametrize(
    ("handshake", "link"),
    [
        (Handshake(accepted=True, mss=1440), 1500),
        (Handshake(accepted=True, mss=1460), 1520),
        (Handshake(accepted=True, mss=8960), 1520),
        (Handshake(accepted=False), 1500),
        (None, 1500),
    ],
)
def test_an_mss_that_fits_or_is_not_known_is_no_fault(
    handshake: Handshake | None, link: int
) -> None:
    assert said(mtu.CHECK, shaken(handshake, link)) == []


@pytest.mark.parametrize(("address", "mode"), [(DR, "dr"), (TUN, "tun")])
def test_a_server_that_refuses_a_connection_is_a_warning(address: bytes, mode: str) -> None:
    [finding] = listening.CHECK.look(shaken(Handshake(accepted=False), address=address))
    assert finding.level.name == "WARNING"
    assert finding.what == f"nobody listens on 192.0.2.10:80 at {text(address)}"
    assert finding.where == f"service {mode}, server {text(address)} ({mode})"
    assert (finding.remedy, finding.at) == ("ss -ltnp sport = :80", text(address))


def test_a_server_that_answers_no_syn_is_not_said_to_refuse_it() -> None:
    assert said(listening.CHECK, shaken(None)) == []


@pytest.mark.parametrize(
    "changed",
    [{"protocol": "udp"}, {"port": 0}, {"vip": b"", "protocol": "ip"}],
)
def test_only_services_with_a_port_of_tcp_are_sent_syns(changed: dict[str, Any]) -> None:
    assert list(questions.syns(snapshot(replace(service(TUN), **changed)))) == []


def test_a_syn_to_port_64_is_another_question_than_an_echo_of_64_bytes() -> None:
    asked = {Echo(DIRECTOR, VIP, 64), Syn(DIRECTOR, VIP, 64)}
    assert len(asked) == 2
