"""The lvsd.toml that the lab writes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from lvsd.config.load import check
from lvsd.lab import settings
from lvsd.lab.settings import RealServer, Service

CONTROL = Path("/run/lab/lvsd.sock")
WEB = Service(
    "web",
    "198.51.100.10:80",
    (RealServer("10.0.0.11:8080", 3), RealServer("10.0.0.12:8080")),
    scheduler="sh",
    flags=("sh-port",),
)


def test_the_text_reads_as_an_operator_would_write_it() -> None:
    assert settings.toml([WEB], CONTROL) == (
        "[daemon]\n"
        'control = "/run/lab/lvsd.sock"\n'
        "hold_s = 0  # a stop forgets all connections\n"
        "\n"
        "[[service]]\n"
        'name = "web"\n'
        'address = "198.51.100.10:80"\n'
        'protocol = "tcp"\n'
        'scheduler = "sh"\n'
        'scheduler_flags = ["sh-port"]\n'
        'forward = "nat"\n'
        "\n"
        "  [[service.server]]\n"
        '  address = "10.0.0.11:8080"\n'
        "  weight = 3\n"
        "\n"
        "  [[service.server]]\n"
        '  address = "10.0.0.12:8080"\n'
        "  weight = 1\n"
    )


def test_each_mode_has_its_own_keys() -> None:
    tun = Service(
        "tun",
        "198.51.100.10:80",
        (
            RealServer("10.1.0.13:80", tunnel="gue", tunnel_port=6080),
            RealServer("10.1.0.14:8080", forward="fullnat"),
        ),
        forward="tun",
        tunnel="gre",
        mss_clamp=False,
        local_addresses=("10.0.0.2", "10.0.0.3"),
        client_address="proxy-v2",
    )

    (table,) = tomllib.loads(settings.toml([tun], CONTROL))["service"]

    assert {key: table[key] for key in ("forward", "tunnel", "mss_clamp", "client_address")} == {
        "forward": "tun",
        "tunnel": "gre",
        "mss_clamp": False,
        "client_address": "proxy-v2",
    }
    assert table["local_addresses"] == ["10.0.0.2", "10.0.0.3"]
    assert table["server"] == [
        {"address": "10.1.0.13:80", "weight": 1, "tunnel": "gue", "tunnel_port": 6080},
        {"address": "10.1.0.14:8080", "weight": 1, "forward": "fullnat"},
    ]


def test_the_daemons_own_check_finds_the_text_good(tmp_path: Path) -> None:
    v6 = Service("web6", "[2001:db8:51::10]:80", (RealServer("[fd00:10::11]:8080"),))
    file = tmp_path / "lvsd.toml"
    file.write_text(settings.toml([WEB, v6], CONTROL), encoding="utf-8")

    config, problems = check(file)

    assert list(problems) == []
    assert config is not None
    assert [service.name for service in config.services] == ["web", "web6"]


def test_at_puts_brackets_around_ipv6_only() -> None:
    assert settings.at("192.0.2.1", 80) == "192.0.2.1:80"
    assert settings.at("2001:db8::1", 80) == "[2001:db8::1]:80"


def test_a_configuration_without_daemon_table_gets_a_control_socket() -> None:
    text, control = settings.completed('[[service]]\nname = "web"\n', CONTROL)

    assert control == CONTROL
    assert tomllib.loads(text) == {
        "daemon": {"control": str(CONTROL), "hold_s": 0},
        "service": [{"name": "web"}],
    }


def test_a_daemon_table_without_control_socket_gets_one() -> None:
    text, control = settings.completed('[daemon] # ours\nlog_level = "debug"\n', CONTROL)

    assert control == CONTROL
    daemon = {"control": str(CONTROL), "hold_s": 0, "log_level": "debug"}
    assert tomllib.loads(text) == {"daemon": daemon}


def test_a_control_socket_that_is_named_stays() -> None:
    given = '[daemon]\ncontrol = "/run/other.sock"\nhold_s = 5\n'

    assert settings.completed(given, CONTROL) == (given, Path("/run/other.sock"))


def test_a_configuration_that_is_no_toml_reaches_the_daemon_as_it_is() -> None:
    assert settings.completed("[daemon", CONTROL) == ("[daemon", CONTROL)
