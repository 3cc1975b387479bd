"""What each method of the control protocol answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import lvsd

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.balancer import Balancer

    Exchange = Callable[..., list[dict[str, Any]]]

WEB = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
NOTHING_SEEN = {
    "heard_ago_s": None,
    "waiting": 0,
    "waiting_s": 0,
    "tried_ago_s": 0,
    "refused": 0,
    "refused_port": 0,
    "refused_ago_s": 0,
    "repeated": 0,
}
ZERO = {"connections": 0, "in_packets": 0, "out_packets": 0, "in_bytes": 0, "out_bytes": 0}


def request(method: str, **params: object) -> bytes:
    return json.dumps({"method": method, "params": params}).encode() + b"\n"


def test_list_describes_services_with_their_servers_newest_first(exchange: Exchange) -> None:
    assert exchange(request("list")) == [
        {
            "result": [
                {
                    "name": "web",
                    "protocol": "tcp",
                    "address": "192.0.2.10",
                    "port": 80,
                    "fwmark": 0,
                    "family": 4,
                    "scheduler": "rr",
                    "flags": [],
                    "persistence_s": 300,
                    "prefix": 24,
                    "one_packet": False,
                    "slow_start_s": 0,
                    "mss_clamp": False,
                    "max_connections": 0,
                    "local_addresses": [],
                    "local_ports": [1025, 65535],
                    "tcp_timeout_s": 0,
                    "udp_timeout_s": 0,
                    "udp_answered_timeout_s": 0,
                    "stats": ZERO,
                    "rates": ZERO,
                    "servers": [
                        {
                            "address": f"10.0.0.{host}",
                            "port": 8080,
                            "forward": "nat",
                            "label": "Masq",
                            "tunnel": "",
                            "tunnel_port": 0,
                            "tunnel_checksum": False,
                            "client_address": "",
                            "toa_kind": 0,
                            "weight": host,
                            "effective_weight": host,
                            "health": "up",
                            "drain": None,
                            "slow_start": None,
                            "upper": 9,
                            "lower": 0,
                            "active": 0,
                            "inactive": 0,
                            "templates": 0,
                            "evidence": NOTHING_SEEN,
                            "stats": {**ZERO, "connections": host, "in_bytes": 1000 * host},
                            "rates": ZERO,
                        }
                        for host in (12, 11)
                    ],
                },
                {
                    "name": "",
                    "protocol": "ip",
                    "address": "",
                    "port": 0,
                    "fwmark": 7,
                    "family": 6,
                    "scheduler": "rr",
                    "flags": [],
                    "persistence_s": 0,
                    "prefix": None,
                    "one_packet": False,
                    "slow_start_s": 0,
                    "mss_clamp": False,
                    "max_connections": 0,
                    "local_addresses": [],
                    "local_ports": [1025, 65535],
                    "tcp_timeout_s": 0,
                    "udp_timeout_s": 0,
                    "udp_answered_timeout_s": 0,
                    "stats": ZERO,
                    "rates": ZERO,
                    "servers": [],
                },
            ]
        }
    ]


@pytest.mark.parametrize(
    ("selector", "name"), [(WEB, "web"), ({"fwmark": 7, "family": 6}, "")], ids=["tcp", "fwmark"]
)
def test_list_takes_one_service(exchange: Exchange, selector: dict[str, Any], name: str) -> None:
    [answer] = exchange(request("list", service=selector))
    assert [service["name"] for service in answer["result"]] == [name]


@pytest.mark.parametrize("method", ["list", "zero"])
@pytest.mark.parametrize("selector", [{**WEB, "port": 81}, {"fwmark": 7}, {"fwmark": 8}])
def test_an_unknown_service_is_refused(
    exchange: Exchange, method: str, selector: dict[str, Any]
) -> None:
    assert exchange(request(method, service=selector)) == [
        {"error": {"code": "refused", "message": "No such service"}}
    ]


def test_zero_of_one_service_zeroes_its_servers(exchange: Exchange, balancer: Balancer) -> None:
    assert exchange(request("zero", service=WEB)) == [{"result": None}]
    [web, _] = balancer.services
    assert [server.meter.totals.connections for server in web.servers] == [0, 0]
    assert [server.meter.raw.connections for server in web.servers] == [12, 11]


def test_zero_of_all_takes_no_parameters(exchange: Exchange, balancer: Balancer) -> None:
    assert exchange(b'{"method": "zero"}\n') == [{"result": None}]
    [web, _] = balancer.services
    assert [server.meter.totals.in_bytes for server in web.servers] == [0, 0]


def test_timeouts_are_the_three_that_can_be_set(exchange: Exchange) -> None:
    assert exchange(request("timeouts")) == [
        {"result": {"tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}}
    ]


def test_status_counts_from_the_start_of_the_daemon(exchange: Exchange, balancer: Balancer) -> None:
    balancer.now += 61.5
    [answer] = exchange(request("status"))
    result = answer["result"]
    assert (result["version"], result["uptime_s"], result["services"]) == (lvsd.__version__, 61, 2)
    assert result["drops"] == balancer.dropped()
    assert result["counters"] == balancer.counters()


def test_status_tells_what_is_counted_around_the_director_by_group(exchange: Exchange) -> None:
    [answer] = exchange(request("status"))
    assert answer["result"]["groups"] == {
        "queue": {"received": 9, "kernel_dropped": 2},
        "icmp": {"sent": 1},
    }


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"\n", "bad_request", "JSON"),
        (b"{]\n", "bad_request", "JSON"),
        (b"[1]\n", "bad_request", "object"),
        (b"\xff\xfe\n", "bad_request", "JSON"),
        (b"[" * 5000 + b"\n", "bad_request", "JSON"),
        (b'{"params": {}}\n', "bad_request", "method: missing"),
        (b'{"method": 1}\n', "bad_request", "method"),
        (b'{"method": "list", "extra": 1}\n', "bad_request", "extra"),
        (b'{"method": "list", "params": []}\n', "bad_request", "params"),
        (b'{"method": "reboot"}\n', "unknown_method", "connections, list, status"),
        (b'{"method": "list", "method": "status"}\n', "bad_request", 'the key "method" stands'),
        (
            b'{"method": "list", "params": {"service": {"fwmark": 7, "fwmark": 8}}}\n',
            "bad_request",
            'the key "fwmark" stands',
        ),
        (request("list", service={"fwmark": 7, "address": "192.0.2.1"}), "bad_params", "or a fwm"),
        (request("list", service={"fwmark": 7, "address": {}}), "bad_params", "or a fwmark"),
        (request("list", service={"fwmark": 7, "protocol": "tcp"}), "bad_params", "or a fwmark"),
        (request("list", service={"fwmark": 7, "port": 80}), "bad_params", "or a fwmark"),
        (request("list", service={**WEB, "family": 6}), "bad_params", "service.family"),
        (request("timeouts", verbose=True), "bad_params", "verbose"),
        (request("list", service={}), "bad_params", "protocol, address and port, or a fwmark"),
        (request("list", service={**WEB, "fwmark": 7}), "bad_params", "or a fwmark"),
        (request("list", service={**WEB, "port": 65536}), "bad_params", "service.port"),
        (request("list", service={**WEB, "port": "80"}), "bad_params", "service.port"),
        (request("list", service={**WEB, "address": "x"}), "bad_params", "'x'"),
        (request("list", service={**WEB, "protocol": "icmp"}), "bad_params", "service.protocol"),
        (request("list", service={"fwmark": -1}), "bad_params", "service.fwmark"),
        (request("list", service={"fwmark": 7, "family": 5}), "bad_params", "service.family"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    exchange: Exchange, line: bytes, code: str, words: str
) -> None:
    [answer] = exchange(line)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]
