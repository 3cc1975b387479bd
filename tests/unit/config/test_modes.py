"""Each way of forwarding: the forwarder that a file asks for, and what the file must not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.fields import KINDS_IN_USE
from lvsd.config.model import Service
from lvsd.config.shape import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarders.base import Forwarder

    Problems: TypeAlias = Callable[[str], list[str]]

ADDRESS = 'address = "192.0.2.10:80"\n'
LOCAL = 'local_addresses = ["10.0.1.5"]\n'


def service(keys: str = "", *servers: str, protocol: str = "tcp", address: str = ADDRESS) -> str:
    """Return a file: a service's keys from line 5 on, then its servers' tables."""
    text = f'[[service]]\nname = "s"\n{address}protocol = "{protocol}"\n{keys}\n'
    return text + "".join(f"[[service.server]]\n{server}\n" for server in servers)


def service_of(content: dict[str, object]) -> Service:
    found = Reading(Service, 1).of(content)
    assert found is not None
    return found


def server(address: str = "10.0.0.2:80", keys: str = "") -> str:
    return f'address = "{address}"\n{keys}'


# --- what comes out -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_service", "of_server", "expected"),
    [
        ({}, {}, Nat()),
        ({"forward": "dr"}, {}, Dr()),
        ({"forward": "dr"}, {"forward": "nat"}, Nat()),
        ({"forward": "tun"}, {}, Tun()),
        ({}, {"forward": "tun", "tunnel": "gre", "tunnel_checksum": True}, Tun("gre", 0, True)),
        ({"forward": "tun", "tunnel": "gue", "tunnel_port": 6080}, {}, Tun("gue", 6080)),
        (
            {"forward": "tun", "tunnel": "gue", "tunnel_port": 6080, "tunnel_checksum": True},
            {"tunnel_port": 6081, "tunnel_checksum": False},
            Tun("gue", 6081),
        ),
        (
            {"forward": "tun", "tunnel": "gue", "tunnel_port": 6080, "tunnel_checksum": True},
            {"tunnel": "gre"},
            Tun("gre", 0, True),
        ),
        (
            {"forward": "tun", "tunnel": "gue", "tunnel_port": 6080, "tunnel_checksum": True},
            {"tunnel": "ipip"},
            Tun(),
        ),
        ({"forward": "fullnat"}, {}, Fullnat("toa", 254)),
        ({"forward": "fullnat", "toa_kind": 200}, {}, Fullnat("toa", 200)),
        ({"forward": "fullnat"}, {"client_address": "none"}, Fullnat("none")),
        ({"forward": "fullnat"}, {"toa_kind": 200}, Fullnat("toa", 200)),
        ({"forward": "fullnat", "toa_kind": 200}, {"client_address": "none"}, Fullnat("none")),
        ({"forward": "fullnat", "client_address": "none"}, {"client_address": "toa"}, Fullnat()),
        ({"forward": "fullnat", "client_address": "none"}, {}, Fullnat("none")),
        ({"client_address": "proxy-v2"}, {"forward": "fullnat"}, Fullnat("proxy-v2")),
    ],
)
def test_a_servers_forwarder_has_its_own_options_then_the_services(
    of_service: dict[str, object], of_server: dict[str, object], expected: Forwarder
) -> None:
    entry = service_of(
        {"name": "s", **of_service, "server": [{"address": "10.0.0.2:80", **of_server}]}
    )
    assert entry.forwarder(entry.servers[0]) == expected


def test_the_local_side_is_addresses_and_a_range_of_ports() -> None:
    entry = service_of(
        {
            "name": "s",
            "local_addresses": ["10.0.1.5", "2001:db8:1::5"],
            "local_ports": "20000-29999",
        }
    )
    assert entry.local_addresses == (
        bytes([10, 0, 1, 5]),
        bytes.fromhex("20010db80001" + "0" * 19 + "5"),
    )
    assert entry.local_ports == (20000, 29999)
    assert str(entry.local_ports) == "20000-29999"


@pytest.mark.parametrize(
    "text",
    [
        service('forward = "dr"', server()),
        service('forward = "dr"', server("10.0.0.2:9"), address='address = "192.0.2.10:9"\n',
                protocol="sctp"),
        service('forward = "tun"', server("[2001:db8::2]:80")),
        service('forward = "tun"', server(), address='address = "[2001:db8::10]:80"\n'),
        service('forward = "tun"', server("10.0.0.2:80"), protocol="sctp"),
        service('forward = "tun"\nmss_clamp = true', server()),
        service('forward = "tun"\npersistence_s = 60', server("10.0.0.2:0"),
                address='address = "192.0.2.10:0"\n'),
        service(f'forward = "fullnat"\n{LOCAL}', server("10.0.0.2:8080")),
        service(f'forward = "fullnat"\nclient_address = "proxy-v2"\n{LOCAL}', server(),
                protocol="udp"),
        service(f'forward = "fullnat"\nlocal_ports = "1-1"\n{LOCAL}', server()),
        ('[[service]]\nname = "s"\nfwmark = 7\nforward = "dr"\n'
        '[[service.server]]\naddress = "10.0.0.2:0"\n'),
        (f'[[service]]\nname = "s"\nfwmark = 7\nforward = "fullnat"\n{LOCAL}'
        '[[service.server]]\naddress = "10.0.0.2:0"\n'),
        service(
            f'tunnel = "gue"\ntunnel_port = 6080\n{LOCAL}',
            server("10.0.0.2:8080"),
            server("10.0.0.3:80", 'forward = "dr"'),
            server("[2001:db8::4]:80", 'forward = "tun"'),
            server("10.0.0.5:80", 'forward = "tun"\ntunnel = "ipip"'),
            server("10.0.0.6:8080", 'forward = "fullnat"'),
        ),
    ],
)  # fmt: skip
def test_a_file_that_goes_with_its_mode_is_good(problems: Problems, text: str) -> None:
    assert problems(text) == []


# --- keys of other modes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "modes"),
    [
        ('tunnel = "ipip"', "tun"),
        ("tunnel_port = 6080", "tun"),
        ("tunnel_checksum = false", "tun"),
        ("mss_clamp = true", "tun"),
        ('local_addresses = ["10.0.1.5"]', "fullnat"),
        ('local_ports = "1-2"', "fullnat"),
        ('client_address = "toa"', "fullnat"),
        ("toa_kind = 254", "fullnat"),
    ],
)
@pytest.mark.parametrize("servers", [[], [server(keys='forward = "nat"')]], ids=["none", "one"])
def test_a_services_key_of_a_mode_that_no_server_has_is_told(
    problems: Problems, key: str, modes: str, servers: list[str]
) -> None:
    word = key.split(maxsplit=1)[0]
    assert problems(service(f'forward = "dr"\n{key}', *servers)) == [
        (
            f"6: service.{word}: set, but no server is forwarded by {modes}, "
            "expected only with one that is"
        )
    ]


@pytest.mark.parametrize("key", ['tunnel = "ipip"', "tunnel_port = 1", "tunnel_checksum = true"])
def test_a_servers_key_of_another_mode_is_told(problems: Problems, key: str) -> None:
    word = key.split(maxsplit=1)[0]
    assert problems(service('forward = "dr"', server(keys=key))) == [
        f'8: service.server.{word}: set with forward = "dr", expected only with tun'
    ]


def test_keys_of_a_mode_are_not_judged_by_a_mode_that_is_misspelt(problems: Problems) -> None:
    assert problems(service('forward = "tunn"\ntunnel = "gre"\ntoa_kind = 9', server())) == [
        (
            '5: service.forward: "tunn" is unknown (did you mean tun?), '
            "expected one of: dr, fullnat, nat, tun"
        )
    ]


# --- DR and TUN -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dr", "tun"])
def test_a_server_of_dr_or_tun_has_the_services_port(problems: Problems, mode: str) -> None:
    assert problems(service(f'forward = "{mode}"', server("10.0.0.2:8080"))) == [
        (
            '7: service.server.address: "10.0.0.2:8080" has port 8080, '
            f"expected 80 as its service: {mode} changes no port"
        )
    ]


@pytest.mark.parametrize("mode", ["dr", "tun"])
def test_a_server_of_any_port_has_none_itself(problems: Problems, mode: str) -> None:
    any_port = service(
        f'forward = "{mode}"\npersistence_s = 60', server(), address='address = "192.0.2.10:0"\n'
    )
    assert problems(any_port) == [
        (
            '8: service.server.address: "10.0.0.2:80" has port 80, '
            f"expected 0 as its service: {mode} changes no port"
        )
    ]


@pytest.mark.parametrize("mode", ["nat", "dr", "fullnat"])
def test_only_a_tunnel_leads_to_the_other_family(problems: Problems, mode: str) -> None:
    keys = LOCAL if mode == "fullnat" else ""
    text = service(f'forward = "{mode}"\n{keys}', server("[2001:db8::2]:80"))
    [problem] = problems(text)
    assert problem.partition(": ")[2] == (
        'service.server.address: "[2001:db8::2]:80" is IPv6, '
        f"expected IPv4 as its service: {mode} keeps the family"
    )


def test_gue_needs_a_port_where_it_is_asked_for(problems: Problems) -> None:
    missing = 'missing, expected with tunnel = "gue" the UDP port that it goes to'
    of_service = service('forward = "tun"\ntunnel = "gue"', server(), server("10.0.0.3:80"))
    assert problems(of_service) == [f"1: service.tunnel_port: {missing}"]
    of_server = service('forward = "tun"', server(keys='tunnel = "gue"'), server("10.0.0.3:80"))
    assert problems(of_server) == [f"6: service.server.tunnel_port: {missing}"]


def test_a_tunnels_options_belong_to_kinds_that_have_them(problems: Problems) -> None:
    text = service(
        'forward = "tun"\ntunnel_port = 6080\ntunnel_checksum = true',
        server(),
        server("10.0.0.3:80", 'tunnel = "gre"\ntunnel_port = 6081'),
        server("10.0.0.4:80", "tunnel_checksum = false"),
    )
    assert problems(text) == [
        (
            '6: service.tunnel_port: set, but no server has tunnel = "gue", '
            "expected only with one that has"
        ),
        '14: service.server.tunnel_port: set with tunnel = "gre", expected only with "gue"',
        (
            '17: service.server.tunnel_checksum: set with tunnel = "ipip", '
            'expected only with "gue" or "gre"'
        ),
    ]


@pytest.mark.parametrize(
    ("port", "wrong"), [("0", "0 is too small"), ("65536", "65536 is too large")]
)
def test_a_tunnels_port_is_one(problems: Problems, port: str, wrong: str) -> None:
    text = service(f'forward = "tun"\ntunnel = "gue"\ntunnel_port = {port}', server())
    assert problems(text) == [
        f"7: service.tunnel_port: {wrong}, expected a port, a whole number from 1 to 65535"
    ]


@pytest.mark.parametrize("protocol", ["udp", "sctp"])
def test_the_clamp_is_for_tcp(problems: Problems, protocol: str) -> None:
    text = service('forward = "tun"\nmss_clamp = true', server(), protocol=protocol)
    assert problems(text) == [
        f'6: service.mss_clamp: true with protocol "{protocol}", expected only with tcp or a fwmark'
    ]


# --- FULLNAT --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "wrong"), [("", "1: missing"), ("local_addresses = []", "6: empty")]
)
def test_fullnat_needs_an_address_to_send_from(problems: Problems, keys: str, wrong: str) -> None:
    line, what = wrong.split(": ")
    for servers in ([], [server()]):
        assert problems(service(f'forward = "fullnat"\n{keys}', *servers)) == [
            (
                f'{line}: service.local_addresses: {what}, expected with forward = "fullnat" '
                "a list of addresses of this host, without ports"
            )
        ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"192.0.2.10"', '"192.0.2.10" is the service\'s own address, expected another one'),
        ('"10.0.0.2"', '"10.0.0.2" is a server\'s address, expected one of this host'),
        (
            '"2001:db8::5"',
            '"2001:db8::5" is IPv6, expected IPv4 as its service: fullnat keeps the family',
        ),
        (
            '"10.0.1.5:80"',
            (
                '"10.0.1.5:80" is no address, '
                "expected an address without a port such as 10.0.1.5 or 2001:db8:1::5"
            ),
        ),
        (
            "5",
            (
                "5 is a whole number, "
                "expected an address without a port such as 10.0.1.5 or 2001:db8:1::5"
            ),
        ),
        ('"fe80::1%eth0"', '"fe80::1%eth0" has a zone, expected an address without %'),
        (
            '"::ffff:10.0.0.1"',
            '"::ffff:10.0.0.1" is an IPv4 address in IPv6\'s form, expected 10.0.0.1',
        ),
        (
            '"127.0.0.1"',
            '"127.0.0.1" is a loopback address, expected one that other hosts reach',
        ),
        ('"10.0.1.6"', "the same address a second time, expected each once (first on line 6)"),
    ],
)
def test_a_local_address_that_is_wrong_says_what_was_expected(
    problems: Problems, value: str, expected: str
) -> None:
    keys = f'forward = "fullnat"\nlocal_addresses = ["10.0.1.6",\n  {value},\n]'
    assert problems(service(keys, server())) == [f"7: service.local_addresses: {expected}"]


def test_local_addresses_are_a_list(problems: Problems) -> None:
    assert problems(service('forward = "fullnat"\nlocal_addresses = "10.0.1.5"', server())) == [
        (
            '6: service.local_addresses: "10.0.1.5" is a string, '
            "expected a list of addresses of this host, without ports"
        )
    ]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ('"0-5"', '"0-5" goes too far'),
        ('"6-5"', '"6-5" is reversed'),
        ('"1-65536"', '"1-65536" goes too far'),
        ('"1025"', '"1025" is no range'),
        ('"1-2-3"', '"1-2-3" is no range'),
        ('"\u0661-\u0662"', '"\u0661-\u0662" is no range'),
        ("[1, 2]", "it is a list"),
    ],
)
def test_local_ports_are_a_range(problems: Problems, value: str, wrong: str) -> None:
    assert problems(service(f'forward = "fullnat"\n{LOCAL}local_ports = {value}')) == [
        (
            f"7: service.local_ports: {wrong}, "
            "expected a range of ports LOW-HIGH within 1-65535, such as 1025-65535"
        )
    ]


def test_the_kind_of_toa_is_a_byte_that_tcp_does_not_use(problems: Problems) -> None:
    keys = f'forward = "fullnat"\n{LOCAL}toa_kind = '
    expected = "expected a kind of TCP option, from 9 to 255, that nothing else uses"

    def wrong(kind: int) -> str:
        if kind in KINDS_IN_USE:
            return f"7: service.toa_kind: {kind} is in use by TCP itself, {expected}"
        return f"7: service.toa_kind: {kind} is too {'small' if kind < 0 else 'large'}, {expected}"

    for kind in (-1, 256, *KINDS_IN_USE):
        assert problems(service(f"{keys}{kind}")) == [wrong(kind)]
    assert [problems(service(f"{keys}{kind}")) for kind in (9, 200, 253, 254, 255)] == [[]] * 5


def test_the_kind_of_toa_needs_toa(problems: Problems) -> None:
    text = service(f'forward = "fullnat"\n{LOCAL}client_address = "none"\ntoa_kind = 200')
    assert problems(text) == [
        '8: service.toa_kind: set with client_address = "none", expected only with "toa"'
    ]


def test_fullnat_carries_tcp_and_udp(problems: Problems) -> None:
    expected = '"fullnat" with protocol "sctp", expected tcp, udp or a fwmark'
    of_service = service(f'forward = "fullnat"\n{LOCAL}', server(), protocol="sctp")
    assert problems(of_service) == [f"5: service.forward: {expected}"]
    of_server = service(LOCAL, server(keys='forward = "fullnat"'), protocol="sctp")
    assert problems(of_server) == [f"9: service.server.forward: {expected}"]


def test_one_packet_has_no_connection_that_fullnats_replies_could_find(problems: Problems) -> None:
    text = service(f'forward = "fullnat"\n{LOCAL}one_packet = true', server(), protocol="udp")
    assert problems(text) == [
        (
            '7: service.one_packet: true with forward = "fullnat", '
            "expected false: replies need a connection"
        )
    ]


def test_whatever_stands_for_a_word_nothing_raises(problems: Problems) -> None:
    keys = "\n".join(
        f"{key} = {value}"
        for key, value in {
            "forward": "[1]", "tunnel": "{}", "tunnel_port": "[]", "mss_clamp": "{}",
            "local_addresses": "{}", "client_address": "[[]]", "toa_kind": "true",
        }.items()
    )  # fmt: skip
    found = [line.split(": ")[1] for line in problems(service(keys, server(keys="tunnel = [[]]")))]
    assert found == [
        "service.forward",
        "service.tunnel",
        "service.tunnel_port",
        "service.mss_clamp",
        "service.local_addresses",
        "service.client_address",
        "service.toa_kind",
        "service.server.tunnel",
    ]


def test_the_kind_of_toa_needs_toa_where_a_server_says_it_too(problems: Problems) -> None:
    own = 'client_address = "none"\n'
    text = service(f'forward = "fullnat"\n{LOCAL}', server())
    assert problems(f"{text}toa_kind = 200\n") == []
    assert problems(f"{text}{own}toa_kind = 200\n") == [
        '12: service.server.toa_kind: set with client_address = "none", expected only with "toa"'
    ]
