"""Every rule, by what an operator reads when it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

import schedulers
from lvsd.config.faults import kind, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulers.base import Scheduler

    Problems: TypeAlias = Callable[[str], list[str]]

WEB = 'name = "web"\naddress = "192.0.2.10:80"\nprotocol = "tcp"\n'
TIMEOUT = "a whole number of seconds from 1 to 2678400"
SERVICE_KEYS = (
    "name, address, fwmark, family, protocol, scheduler, scheduler_flags, forward, "
    "tunnel, tunnel_port, tunnel_checksum, mss_clamp, "
    "local_addresses, local_ports, client_address, toa_kind, "
    "tcp_timeout_s, udp_timeout_s, udp_answered_timeout_s, "
    "persistence_s, persistence_netmask, one_packet, max_connections, slow_start_s, "
    "interface, check, server"
)
ENDPOINT = "an address and port such as 192.0.2.10:80 or [2001:db8::10]:80"
SERVER_KEYS = (
    "address, weight, forward, tunnel, tunnel_port, tunnel_checksum, client_address, toa_kind, "
    "upper_threshold, lower_threshold"
)
SCHEDULERS = "dh, fo, lblc, lblcr, lc, mh, nq, ovf, rr, sed, sh, wlc, wrr"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "queue = 70000",
            "daemon.queue: 70000 is too large, expected a whole number from 0 to 65535",
        ),
        (
            "queue = -1",
            "daemon.queue: -1 is too small, expected a whole number from 0 to 65535",
        ),
        (
            'queue = "1"',
            'daemon.queue: "1" is a string, expected a whole number from 0 to 65535',
        ),
        (
            "queue = true",
            "daemon.queue: true is a truth value, expected a whole number from 0 to 65535",
        ),
        (
            "queue = 1.5",
            "daemon.queue: 1.5 is a fraction, expected a whole number from 0 to 65535",
        ),
        (
            "queue = 1979-05-27",
            "daemon.queue: 1979-05-27 is a date or time, expected a whole number from 0 to 65535",
        ),
        (
            "queue = []",
            "daemon.queue: it is a list, expected a whole number from 0 to 65535",
        ),
        (
            "queue = {}",
            "daemon.queue: it is a table, expected a whole number from 0 to 65535",
        ),
        (
            "queue = 0x1" + "0" * 5000,
            (
                "daemon.queue: a number of 20001 bits is too large, "
                "expected a whole number from 0 to 65535"
            ),
        ),
        (
            "queue_length = 0",
            (
                "daemon.queue_length: 0 is too small, "
                "expected a whole number of packets from 1 to 4294967295"
            ),
        ),
        (
            'on_crash = "dorp"',
            (
                'daemon.on_crash: "dorp" is unknown (did you mean drop?), '
                "expected one of: drop, bypass"
            ),
        ),
        (
            "log_level = 3",
            "daemon.log_level: 3 is unknown, expected one of: debug, info, warning, error",
        ),
        (
            'control = "run/lvsd.sock"',
            (
                'daemon.control: "run/lvsd.sock" is not an absolute path, '
                "expected an absolute path of at most 107 bytes"
            ),
        ),
        (
            'control = "/run/lvsd/"',
            'daemon.control: "/run/lvsd/" names a directory, expected a socket in it',
        ),
        (
            'control = "/run/lvsd/."',
            'daemon.control: "/run/lvsd/." names a directory, expected a socket in it',
        ),
        (
            'control = "/run/lvsd/.."',
            'daemon.control: "/run/lvsd/.." names a directory, expected a socket in it',
        ),
        (
            'control = "/run/\\u001b[2Jlvsd.sock"',
            (
                'daemon.control: "/run/\\u001b[2Jlvsd.sock" has unprintable characters, '
                "expected an absolute path of at most 107 bytes"
            ),
        ),
        (
            'control = "/run/\\u202elvsd.sock"',
            (
                'daemon.control: "/run/\\u202elvsd.sock" has unprintable characters, '
                "expected an absolute path of at most 107 bytes"
            ),
        ),
        (
            f'control = "/{"x" * 107}"',
            (
                f'daemon.control: "/{"x" * 56}..." has 108 bytes, '
                "expected an absolute path of at most 107 bytes"
            ),
        ),
        (
            "control = 3",
            "daemon.control: 3 is a whole number, expected an absolute path of at most 107 bytes",
        ),
        (
            "on_crahs = 1",
            (
                "daemon.on_crahs: unknown (did you mean on_crash?), expected a key of daemon "
                "(see docs/configuration.md)"
            ),
        ),
        (
            '"a\\nb" = 1',
            (
                'daemon."a\\nb": unknown, expected a key of daemon: control, control_readers, '
                "queue, queue_length, on_crash, hold_s, max_connections, log_level, log_format"
            ),
        ),
    ],
)
def test_a_key_of_daemon_that_is_wrong_says_what_was_expected(
    problems: Problems, line: str, expected: str
) -> None:
    assert problems(f"[daemon]\n\n{line}\n") == [f"3: {expected}"]


def test_a_sysctl_is_a_switch_or_a_number_of_its_range(problems: Problems) -> None:
    assert problems('[sysctl]\nsloppy_tcp = 2\nconn_reuse_mode = 4\nforwarding = "yes"\n') == [
        "2: sysctl.sloppy_tcp: 2 is a whole number, expected true or false (or 1 or 0)",
        "3: sysctl.conn_reuse_mode: 4 is too large, expected a whole number from 0 to 3",
        '4: sysctl.forwarding: "yes" is a string, expected true or false (or 1 or 0)',
    ]


def test_a_timeout_lies_between_a_second_and_a_month(problems: Problems) -> None:
    assert problems("[timeouts]\ntcp_s = 0\nudp_s = 2678401\n") == [
        f"2: timeouts.tcp_s: 0 is too small, expected {TIMEOUT}",
        f"3: timeouts.udp_s: 2678401 is too large, expected {TIMEOUT}",
    ]


@pytest.mark.parametrize(
    ("key", "word", "meant"),
    [
        ("protocol", "UDP", "udp"),
        ("forward", "NAT", "nat"),
        ("forward", "masquerading", "nat"),
        ("forward", "Direct Routing", "dr"),
        ("forward", "Full_NAT", "fullnat"),
        ("scheduler", "round-robin", "rr"),
        ("scheduler", "RoundRobin", "rr"),
        ("scheduler", "weighted least-connections", "wlc"),
        ("scheduler", "leastconn", "lc"),
        ("tunnel", "IPIP", "ipip"),
    ],
)
def test_a_word_in_capitals_or_of_other_balancers_is_answered_with_ours(
    problems: Problems, key: str, word: str, meant: str
) -> None:
    good = {"protocol": "tcp", "scheduler": "rr", "forward": "tun", key: word}
    lines = [f'{name} = "{value}"' for name, value in good.items()]
    told = problems("\n".join(['[[service]]\nname = "web"\naddress = "192.0.2.10:80"', *lines]))
    assert f'"{word}" is unknown (did you mean {meant}?), expected one of: ' in "\n".join(told)


def test_an_unknown_table_is_named_with_the_nearest_one(problems: Problems) -> None:
    assert problems("[deamon]\n[[services]]\n") == [
        ("1: deamon: unknown (did you mean daemon?), expected a table (see docs/configuration.md)"),
        (
            "2: services: unknown (did you mean service?), "
            "expected a table (see docs/configuration.md)"
        ),
    ]


def test_single_brackets_around_service_are_told_from_double_ones(problems: Problems) -> None:
    assert problems(f"[service]\n{WEB}") == [
        "1: service: it is a table, expected [[service]] tables, in double brackets"
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            'name = "s"',
            ["1: service.address: missing, expected ADDRESS:PORT, or fwmark instead"],
        ),
        (
            'name = "s"\naddress = "192.0.2.10:80"',
            ["1: service.protocol: missing, expected one of: tcp, udp, sctp"],
        ),
        (
            "fwmark = 7",
            ["1: service.name: missing, expected a name of 1 to 64 printable characters"],
        ),
        (
            'name = " "\nfwmark = 7',
            [
                (
                    '2: service.name: " " cannot be a name, '
                    "expected a name of 1 to 64 printable characters"
                )
            ],
        ),
        (
            'name = "s"\nfwmark = 0',
            ["3: service.fwmark: 0 is too small, expected a firewall mark, from 1 to 4294967295"],
        ),
        (
            f"{WEB}fwmark = 7\ninterface = 'lo'",
            [
                "3: service.address: set together with fwmark, expected only one of the two",
                (
                    "4: service.protocol: set together with fwmark, "
                    "expected none: a fwmark service takes all protocols"
                ),
                (
                    "6: service.interface: set together with fwmark, "
                    "expected none: a mark has no address to put on an interface"
                ),
            ],
        ),
        (
            f"{WEB}family = 4",
            ["5: service.family: set without fwmark, expected none: the address has one"],
        ),
        (
            'name = "s"\nfwmark = 7\nfamily = 5',
            ["4: service.family: 5 is unknown, expected 4 or 6"],
        ),
        (
            'name = "s"\naddress = "192.0.2.10:80"\nprotocol = "tpc"',
            [
                (
                    '4: service.protocol: "tpc" is unknown (did you mean tcp?), '
                    "expected one of: tcp, udp, sctp"
                )
            ],
        ),
        (
            f'{WEB}scheduler = "wlcc"',
            [
                (
                    '5: service.scheduler: "wlcc" is unknown (did you mean wlc?), '
                    f"expected one of: {SCHEDULERS}"
                )
            ],
        ),
        (
            f'{WEB}scheduler = "sh"\nscheduler_flags = [\n  "sh-port",\n  "sh-prot",\n]',
            [
                (
                    '8: service.scheduler_flags: "sh-prot" is unknown (did you mean sh-port?), '
                    "expected one of: sh-fallback, sh-port (the flags of scheduler sh)"
                )
            ],
        ),
        (
            f'{WEB}scheduler = "sh"\nscheduler_flags = [\n  "sh-port",\n  "sh-port",\n]',
            [
                (
                    "8: service.scheduler_flags: the same flag a second time, "
                    "expected each once (first on line 7)"
                )
            ],
        ),
        (
            f'{WEB}scheduler_flags = ["sh-port"]',
            [
                (
                    '5: service.scheduler_flags: "sh-port" is unknown, '
                    "expected none (the flags of scheduler wlc)"
                )
            ],
        ),
        (
            f'{WEB}scheduler_flags = "sh-port"',
            [
                (
                    '5: service.scheduler_flags: "sh-port" is a string, '
                    "expected a list of the scheduler's flags"
                )
            ],
        ),
        (
            f'{WEB}forward = "nta"',
            [
                (
                    '5: service.forward: "nta" is unknown (did you mean nat?), '
                    "expected one of: dr, fullnat, nat, tun"
                )
            ],
        ),
        (
            f"{WEB}persistence_s = 0",
            [f"5: service.persistence_s: 0 is too small, expected {TIMEOUT}"],
        ),
        (
            f"{WEB}persistence_netmask = 24",
            [
                "5: service.persistence_netmask: set without persistence_s, expected only with it",
            ],
        ),
        (
            f"{WEB}persistence_s = 300\npersistence_netmask = 64",
            [
                (
                    "6: service.persistence_netmask: 64 is too large, "
                    "expected a prefix length from 1 to 32 for IPv4"
                )
            ],
        ),
        (
            'name = "s"\naddress = "192.0.2.10:0"\nprotocol = "udp"',
            ['3: service.address: "192.0.2.10:0" is any port (0), expected persistence_s with it'],
        ),
        (
            'name = "s"\naddress = "192.0.2.10:80"\nprotocol = ["tcp"]\none_packet = true',
            ["4: service.protocol: a list is unknown, expected one of: tcp, udp, sctp"],
        ),
        (
            f"{WEB}one_packet = true",
            ['5: service.one_packet: true with protocol "tcp", expected only with udp or a fwmark'],
        ),
        (
            f'{WEB}interface = "eth0/1"',
            [
                (
                    '5: service.interface: "eth0/1" cannot be an interface\'s name, '
                    "expected the name of a network interface, 1 to 15 bytes"
                )
            ],
        ),
        (
            f"{WEB}weight = 3",
            [
                (
                    "5: service.weight: unknown (it belongs to service.server), "
                    "expected a key of service (see docs/configuration.md)"
                )
            ],
        ),
        (
            f"{WEB}flavour = 3",
            [f"5: service.flavour: unknown, expected a key of service: {SERVICE_KEYS}"],
        ),
        (
            f"{WEB}Local-Ports = 3",
            [
                (
                    "5: service.Local-Ports: unknown (did you mean local_ports?), "
                    "expected a key of service (see docs/configuration.md)"
                )
            ],
        ),
    ],
)
def test_a_service_that_is_wrong_says_what_was_expected(
    problems: Problems, keys: str, expected: list[str]
) -> None:
    assert problems(f"[[service]]\n{keys}\n") == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", '"10.0.0.1" has no port, expected one, such as 10.0.0.1:80'),
        ("[2001:db8::1]", '"[2001:db8::1]" has no port, expected one, such as [2001:db8::1]:80'),
        ("2001:db8::", '"2001:db8::" has no port, expected one, such as [2001:db8::]:80'),
        ("fd00::1:8080", '"fd00::1:8080" has no brackets, expected such as [fd00::1]:8080'),
        ("10.0.0.256:80", f'"10.0.0.256:80" is no endpoint, expected {ENDPOINT}'),
        ("10.0.0.1:99999", 'port "99999" is wrong, expected a number from 0 to 65535'),
        ("10.0.0.1:", 'port "" is wrong, expected a number from 0 to 65535'),
        (
            "10.0.0.1:" + "9" * 5000,
            f'port "{"9" * 57}..." is wrong, expected a number from 0 to 65535',
        ),
        (
            "127.0.0.2:80",
            '"127.0.0.2:80" is a loopback address, expected one that other hosts reach',
        ),
        (
            "[::1]:80",
            '"[::1]:80" is a loopback address, expected one that other hosts reach',
        ),
        (
            "169.254.1.1:80",
            '"169.254.1.1:80" is a link-local address, expected one that routers forward to',
        ),
        (
            "[fe80::1]:80",
            '"[fe80::1]:80" is a link-local address, expected one that routers forward to',
        ),
        (
            "240.0.0.1:80",
            '"240.0.0.1:80" is in 240.0.0.0/4, expected an address that is not reserved',
        ),
        (
            "[::ffff:10.0.0.1]:80",
            '"[::ffff:10.0.0.1]:80" is an IPv4 address in IPv6\'s form, expected 10.0.0.1:80',
        ),
        (
            "192.0.2.10:8080",
            "\"192.0.2.10:8080\" is the service's own address, expected a server's",
        ),
        (
            "[fe80::1%eth0]:80",
            '"[fe80::1%eth0]:80" has a zone, expected an address without %',
        ),
        (
            "0.0.0.0:80",
            '"0.0.0.0:80" is not the address of one host, expected a unicast one',
        ),
        (
            "[ff02::1]:80",
            '"[ff02::1]:80" is not the address of one host, expected a unicast one',
        ),
        (
            "255.255.255.255:80",
            '"255.255.255.255:80" is not the address of one host, expected a unicast one',
        ),
        (
            "[2001:db8::1]:80",
            '"[2001:db8::1]:80" is IPv6, expected IPv4 as its service: nat keeps the family',
        ),
    ],
)
def test_a_servers_address_that_is_wrong_says_what_was_expected(
    problems: Problems, address: str, expected: str
) -> None:
    text = f'[[service]]\n{WEB}\n[[service.server]]\nweight = 1\naddress = "{address}"\n'
    assert problems(text) == [f"8: service.server.address: {expected}"]


@pytest.mark.parametrize(
    ("weight", "wrong"),
    [
        ("1e9", "1000000000.0 is a fraction"),
        ("1_000_000_000", "1000000000 is too large"),
        ("-1", "-1 is too small"),
        ("nan", "nan is a fraction"),
        ("-inf", "-inf is a fraction"),
        ("true", "true is a truth value"),
    ],
)
def test_a_weight_is_a_small_whole_number(problems: Problems, weight: str, wrong: str) -> None:
    text = f'[[service]]\n{WEB}\n[[service.server]]\naddress = "10.0.0.2:80"\nweight = {weight}\n'
    expected = "expected a whole number from 0 to 65535"
    assert problems(text) == [f"8: service.server.weight: {wrong}, {expected}"]


def test_a_virtual_address_must_be_one_that_packets_are_forwarded_to(problems: Problems) -> None:
    text = '[[service]]\nname = "s"\nprotocol = "tcp"\naddress = "[fe80::1]:80"\n'
    assert problems(text) == [
        (
            '4: service.address: "[fe80::1]:80" is a link-local address, '
            "expected one that routers forward to"
        )
    ]


def test_a_servers_keys_are_checked_each_on_its_own_line(problems: Problems) -> None:
    text = f"""[[service]]
{WEB}
[[service.server]]
weight = 65536
[[service.server]]
address = "10.0.0.2:80"
upper_threshold = 10
lower_threshold = 11
[[service.server]]
address = "10.0.0.3:80"
lower_threshold = 5
forward = "rd"
wieght = 2
"""
    assert problems(text) == [
        (
            "6: service.server.address: missing, "
            "expected an address and port such as 10.0.0.11:8080 or [2001:db8::11]:8080"
        ),
        "7: service.server.weight: 65536 is too large, expected a whole number from 0 to 65535",
        "11: service.server.lower_threshold: 11 is above upper_threshold, expected at most 10",
        ("14: service.server.lower_threshold: set without upper_threshold, expected only with it"),
        '15: service.server.forward: "rd" is unknown, expected one of: dr, fullnat, nat, tun',
        (
            "16: service.server.wieght: unknown (did you mean weight?), "
            "expected a key of service.server (see docs/configuration.md)"
        ),
    ]


def test_a_second_service_of_the_same_name_or_endpoint_points_at_the_first(
    problems: Problems,
) -> None:
    text = """[[service]]
name = "a"
address = "[2001:db8::1]:53"
protocol = "udp"
[[service]]
name = "a"
address = "[2001:DB8:0::1]:53"
protocol = "udp"
[[service]]
name = "same endpoint, other protocol"
address = "[2001:db8::1]:53"
protocol = "tcp"
"""
    assert problems(text) == [
        "6: service.name: the same name a second time, expected each once (first on line 2)",
        "7: service.address: the same service a second time, expected each once (first on line 3)",
    ]


def test_a_mark_may_serve_each_family_once(problems: Problems) -> None:
    text = """[[service]]
name = "four"
fwmark = 1
[[service]]
name = "six"
fwmark = 1
family = 6
[[service]]
name = "four again"
fwmark = 1
family = 4
"""
    assert problems(text) == [
        "10: service.fwmark: the same service a second time, expected each once (first on line 3)"
    ]


def test_a_second_server_of_the_same_endpoint_points_at_the_first(problems: Problems) -> None:
    text = f"""[[service]]
{WEB}server = [
  {{ address = "10.0.0.1:80" }},
  {{ address = "10.0.0.1:81" }},
  {{ weight = 2, address = "10.0.0.1:80" }},
]
"""
    assert problems(text) == [
        (
            "8: service.server.address: the same server a second time, "
            "expected each once (first on line 6)"
        )
    ]


def test_an_error_in_one_key_hides_none_in_another(problems: Problems) -> None:
    text = """[daemon]
queue = -1
[[service]]
name = "a"
address = "nonsense"
protocol = "tcp"
one_packet = true
[[service]]
name = "a"
fwmark = "x"
"""
    assert [line.split(": ")[:2] for line in problems(text)] == [
        ["2", "daemon.queue"],
        ["5", "service.address"],
        ["7", "service.one_packet"],
        ["9", "service.name"],
        ["10", "service.fwmark"],
    ]


def test_a_third_partys_broken_scheduler_is_the_files_problem_not_a_crash(
    problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> type[Scheduler]:
        raise schedulers.BrokenSchedulerError(f"scheduler {name!r} of x 1 cannot be imported")

    monkeypatch.setattr(schedulers, "names", lambda: ["mine"])
    monkeypatch.setattr(schedulers, "load", load)
    assert problems(f'[[service]]\n{WEB}scheduler = "mine"\nscheduler_flags = ["x"]\n') == [
        (
            "5: service.scheduler: scheduler 'mine' of x 1 cannot be imported, "
            "expected a scheduler that works"
        )
    ]


def test_whatever_stands_in_a_file_a_message_stays_on_one_line() -> None:
    values = ["a\nb", "\x1b[31m", "\u2028", "x" * 1000, 10**5000, [1], {"a": 1}, 1.5, True]
    assert [len(text(value).splitlines()) for value in values for text in (shown, kind)] == [
        1
    ] * 2 * len(values)
    assert shown("\x1b[31mé\u2028") == '"\\u001b[31mé\\u2028"'
    assert shown("é") == '"é"'
