"""What can be asked for, and what is said to what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvsd.errors import UsageError
from lvsd.explain.making import Question, make

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"mode": "nad"}, "mode 'nad' is not known, expected one of nat, dr, tun, fullnat"),
        ({"protocol": "sctp"}, "protocol 'sctp' is not known, expected one of tcp, udp"),
        ({"tunnel": "vxlan"}, "tunnel 'vxlan' is not known, expected one of ipip, gue, gre"),
        ({"scheduler": "best"}, "no scheduler 'best'; there are: rr, wrr, lc"),
        ({"flags": ["sh-port"]}, "scheduler wlc has no flag sh-port; it knows: none"),
        ({"vip": "web"}, "vip: 'web' is not ADDRESS:PORT"),
        ({"vip": "192.0.2.1:0"}, "vip: '192.0.2.1:0' has port 0, expected 1 to 65535"),
        ({"client": "192.0.2.1:99999"}, "client: port '99999' is not a number"),
        ({"vip": "192.0.2.1", "ipv6": True}, "IPv4 and IPv6 are mixed"),
        ({"vip": "192.0.2.1", "client": "2001:db8::1"}, "IPv4 and IPv6 are mixed"),
        ({"servers": ["2001:db8::1"]}, "server: 2001:db8::1 is not IPv4 as the VIP: nat keeps"),
        ({"mode": "dr", "servers": ["10.0.0.1:81"]}, "server: 10.0.0.1:81 has another port"),
        ({"servers": ["10.0.0.1"], "weights": [1, 2]}, "weights: 2 of them, servers: 1;"),
        ({"weights": [65536]}, "weight 65536 is not 0 to 65535"),
        ({"weights": [-1]}, "weight -1 is not 0 to 65535"),
        ({"weights": []}, "there is no weight"),
        ({"servers": []}, "there is no server"),
        ({"weights": [1] * 27}, "27 servers, expected 26 at most"),
        ({"servers": ["10.0.0.1", "10.0.0.1:8080"]}, "two servers have one address and port"),
        ({"vip": ""}, "vip: '' is not ADDRESS:PORT"),
        ({"vip": "224.0.0.1"}, 'vip: "224.0.0.1" is not the address of one host'),
        ({"client": "fe80::1%eth0"}, "client: 'fe80::1%eth0' has a zone"),
        ({"servers": ["127.0.0.1"]}, 'server: "127.0.0.1" is a loopback address'),
        ({"servers": ["10.0.0.1"]}, "director and server1 both have 10.0.0.1"),
        ({"servers": ["192.0.2.100"]}, "client and server1 both have 192.0.2.100"),
        ({"servers": ["198.51.100.10"]}, "vip: 198.51.100.10 is an address of server1"),
        ({"client": "198.51.100.10"}, "vip: 198.51.100.10 is an address of client"),
        ({"earlier": -1}, "earlier connections are 0 to 10000, not -1"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(asked: Mapping[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as raised:
        make(Question(**asked))
    assert str(raised.value).startswith(text)


def test_addresses_are_taken_with_a_port_or_without() -> None:
    servers = ["fd00::1"]
    asked = Question("nat", vip="[2001:db8::10]:8443", client="2001:db8::7", servers=servers)
    case = make(asked)
    assert (case.version, case.virtual[1], case.client[1]) == (6, 8443, 40000)
    assert [(each.port, each.weight) for each in case.servers] == [(8080, 1)]


def test_without_a_word_it_is_the_lab() -> None:
    case = make(Question("dr"))
    assert [each.weight for each in case.servers] == [3, 2, 1]
    assert {each.port for each in case.servers} == {80}
    assert case.scheduler.name == "wlc"


def test_a_tunnel_crosses_families() -> None:
    assert len(make(Question("tun", servers=["2001:db8::1"])).servers[0].address) == 16
