"""What lvsadm asks the daemon to change."""

from __future__ import annotations

from typing import Any

import pytest

from lvsd.control.grammar import CommandLineError
from lvsd.control.options import parse

WEB = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
PLAIN = {"scheduler": "wlc", "flags": [], "persistence_s": 0, "one_packet": False}
SERVER = {
    "address": "10.0.0.11", "port": 80, "forward": "dr", "weight": 1, "upper": 0, "lower": 0,
}  # fmt: skip


def change(line: str) -> dict[str, Any]:
    [change] = parse(line.split()).changes
    return change


def service(line: str) -> dict[str, Any]:
    described: dict[str, Any] = change(line)["service"]
    return described


def server(line: str) -> dict[str, Any]:
    described: dict[str, Any] = change(line)["server"]
    return described


def refusal(line: str) -> str:
    with pytest.raises(CommandLineError) as refused:
        parse(line.split())
    return str(refused.value)


# --- services -------------------------------------------------------------------------------


@pytest.mark.parametrize(("letter", "command"), [("-A", "add_service"), ("-E", "edit_service")])
def test_a_service_that_says_nothing_has_ipvsadms_defaults(letter: str, command: str) -> None:
    assert change(f"{letter} -t 192.0.2.10:80") == {"command": command, "service": WEB | PLAIN}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-s rr", {"scheduler": "rr"}),
        ("-p", {"persistence_s": 360}),
        ("-p 60", {"persistence_s": 60}),
        ("-p60 -M 255.255.255.0", {"persistence_s": 60, "prefix": 24}),
        ("-p -M 255.255.255.255", {"persistence_s": 360}),
        ("-M 255.255.255.0", {}),
        ("-s sh -b sh-port,sh-fallback", {"scheduler": "sh", "flags": ["sh-fallback", "sh-port"]}),
        ("-s mh -b flag-1,flag-2,flag-3",
         {"scheduler": "mh", "flags": ["mh-fallback", "mh-port"]}),
        ("-s ours -b any,flag", {"scheduler": "ours", "flags": ["any", "flag"]}),
        ("--name web --max-connections 9 --mss-clamp",
         {"name": "web", "max_connections": 9, "mss_clamp": True}),
        ("--laddr 10.0.1.5,2001:DB8::5 --local-ports 2000-3000",
         {"local_addresses": ["10.0.1.5", "2001:db8::5"], "local_ports": [2000, 3000]}),
        ("--tcp-timeout 5 --slow-start 6", {"tcp_timeout_s": 5, "slow_start_s": 6}),
    ],
)  # fmt: skip
def test_what_a_service_says_is_asked_for(line: str, said: dict[str, Any]) -> None:
    assert service(f"-A -t 192.0.2.10:80 {line}") == WEB | PLAIN | said


def test_a_datagram_service_may_schedule_each_by_itself() -> None:
    assert service("-A -u 192.0.2.10:53 -o")["one_packet"]


def test_a_marks_ipv6_service_has_a_prefix_of_ipv6() -> None:
    asked = service("-A -f 7 -6 -p -M 64")
    assert (asked["fwmark"], asked["family"], asked["prefix"]) == (7, 6, 64)


def test_a_netmask_before_what_says_that_it_is_ipv6_counts() -> None:
    assert service("-A -M 64 -t [2001:db8::10]:80 -p")["prefix"] == 64
    assert service("-A -f 7 -p -M 64 -6")["prefix"] == 64


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-t 192.0.2.10", "Zero port specified for non-persistent service"),
        ("-t 192.0.2.10:80 -o", "One-Packet Scheduling is only for UDP virtual services"),
        ("-t 192.0.2.10:80 -p 0", "invalid timeout value `0' specified"),
        ("-t 192.0.2.10:80 -p -M x", "illegal virtual server persistent mask specified"),
        ("-t 192.0.2.10:80 -p -M 24", ("illegal virtual server persistent mask specified:"
         " 0.0.0.24 is no network's, such as 255.255.255.0")),
        ("-t 192.0.2.10:80 -p -M 255.0.255.0", ("illegal virtual server persistent mask specified:"
         " 255.0.255.0 is no network's, such as 255.255.255.0")),
        ("-t 192.0.2.10:80 -p -M 0.0.0.0", ("illegal virtual server persistent mask specified:"
         " 0.0.0.0 is no network's, such as 255.255.255.0")),
        ("-f 7 -6 -p -M 129", "illegal ipv6 netmask specified"),
        ("-t 192.0.2.10:80 -b nosuch", "invalid scheduler flag `nosuch'"),
        ("-t 192.0.2.10:80 -s mh -b sh-port", "incompatible scheduler flag `sh-port'"),
        ("-t 192.0.2.10:80 --pe sip",
         "Scheduler or persistence engine not found: lvsd has no engine sip"),
        ("-t [192.0.2.10]:80", ("illegal virtual server address[:port] specified:"
         " '[192.0.2.10]:80' is not [IPV6]:PORT")),
        ("-t 192.0.2.10:x", ("illegal virtual server address[:port] specified:"
         " 'x' is no tcp port, and no name of one")),
        ("-t 192.0.2.10:80 --laddr x", "illegal local address specified: 'x' is no address"),
        ("-t 192.0.2.10:80 --local-ports 5", "illegal range of local ports specified"),
    ],
)  # fmt: skip
def test_a_service_that_cannot_be_is_refused(line: str, reason: str) -> None:
    assert refusal(f"-A {line}") == reason


# --- real servers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("letter", "command"), [("-a", "add_server"), ("-e", "edit_server")])
def test_a_real_server_that_says_nothing_has_ipvsadms_defaults(letter: str, command: str) -> None:
    asked = change(f"{letter} -t 192.0.2.10:80 -r 10.0.0.11")
    assert asked == {"command": command, "service": WEB, "server": SERVER}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-m -w 5 -x 10 -y 7", {"forward": "nat", "weight": 5, "upper": 10, "lower": 7}),
        ("-i", {"forward": "tun", "tunnel": "ipip"}),
        (
            "-i --tun-type gue --tun-port 6080 --tun-nocsum",
            {"forward": "tun", "tunnel": "gue", "tunnel_port": 6080},
        ),
        (
            "-i --tun-type gre --tun-csum",
            {"forward": "tun", "tunnel": "gre", "tunnel_checksum": True},
        ),
        ("-F --client-address proxy-v2", {"forward": "fullnat", "client_address": "proxy-v2"}),
        ("--fullnat --toa-kind 200", {"forward": "fullnat", "toa_kind": 200}),
    ],
)
def test_what_a_real_server_says_is_asked_for(line: str, said: dict[str, Any]) -> None:
    assert server(f"-a -t 192.0.2.10:80 -r 10.0.0.11 {line}") == SERVER | said


def test_remote_checksum_offload_is_a_checksum() -> None:
    gue = "-a -t 192.0.2.10:80 -r 10.0.0.11 -i --tun-type gue --tun-port 6080"
    assert server(f"{gue} --tun-remcsum") == server(f"{gue} --tun-csum")


@pytest.mark.parametrize("method", ["-g", "-i"])
def test_a_way_that_changes_no_port_has_the_services(method: str) -> None:
    assert server(f"-a -t 192.0.2.10:80 -r 10.0.0.11:8080 {method}")["port"] == 80


@pytest.mark.parametrize("method", ["-m", "-F"])
def test_a_way_that_changes_the_port_has_the_servers(method: str) -> None:
    assert server(f"-a -t 192.0.2.10:80 -r 10.0.0.11:8080 {method}")["port"] == 8080


def test_a_real_server_before_its_service_has_the_port_that_is_asked_for() -> None:
    assert server("-a -r 10.0.0.11 -m -t 192.0.2.10:80")["port"] == 0


def test_a_tunnel_leads_to_the_other_family_and_nothing_else_does() -> None:
    line = "-a -t 192.0.2.10:80 -r [2001:db8::11]:80"
    assert server(f"{line} -i")["address"] == "2001:db8::11"
    for method in ("-g", "-m", "-F"):
        reason = "Different address family is allowed only for tunneling servers"
        assert refusal(f"{line} {method}") == reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-w -1", "illegal weight specified"),
        ("-w 2147483648", "illegal weight specified"),
        ("-w 65536", "illegal weight specified: lvsd takes up to 65535"),
        ("-x x", "illegal u_threshold specified"),
        ("-y 1.5", "illegal l_threshold specified"),
        ("-m --tun-type gre", "Tunnel options conflict with forward method"),
        ("-i --tun-type gue", "You need to supply the 'tun-port' option for the 'gue' tunnel type"),
        ("-i --tun-port 5", "Illegal 'tun-port' option with the 'ipip' tunnel type"),
        ("-i --tun-type gre --tun-csum --tun-nocsum", ("The option 'tun-csum' conflicts with"
         " the 'tun-nocsum' option in the 'gre' tunnel type")),
        ("-i --tun-type sit", "illegal tunnel type specified"),
        ("-i --tun-port 65536", "illegal tunnel port specified"),
        ("-m --client-address toa", "'client-address' is of --fullnat, and of no other method"),
        ("-F --client-address uoa", "illegal client-address specified"),
    ],
)  # fmt: skip
def test_a_real_server_that_cannot_be_is_refused(line: str, reason: str) -> None:
    assert refusal(f"-a -t 192.0.2.10:80 -r 10.0.0.11 {line}") == reason


# --- removals -------------------------------------------------------------------------------


def test_a_service_is_removed_by_what_names_it() -> None:
    assert change("-D -t 192.0.2.10:80") == {"command": "remove_service", "service": WEB}


def test_a_real_server_is_removed_by_its_endpoint() -> None:
    assert change("-d -t 192.0.2.10:80 -r 10.0.0.11:8080") == {
        "command": "remove_server",
        "service": WEB,
        "server": {"address": "10.0.0.11", "port": 8080},
    }
