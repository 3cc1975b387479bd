"""What an operator is warned of in a file that is good."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvsd.config.doubts import Host, of_file, of_host
from lvsd.config.load import load, located
from lvsd.packet.address import pack

HERE = Host(
    interfaces={"lo", "eth0"},
    addresses={pack("10.0.1.5")},
    forwarding={4: False, 6: True},
    folders={Path("/run/lvsd")},
)
WEB = """
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
"""
SERVER = """
[[service.server]]
address = "10.0.0.11:80"
"""


def told(file: Path, text: str, host: Host | None = None) -> list[str]:
    """Return the warnings: of the file alone, or about a host."""
    file.write_text(text)
    config = load(file)
    faults = of_file(config) if host is None else of_host(config, host)
    return [f"{found.line}: {found.key}: {found.text}" for found in located(file, faults)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lvsd.toml"


@pytest.mark.parametrize(
    "text",
    [
        "",
        WEB + 'interface = "eth0"' + SERVER,
        WEB + 'forward = "fullnat"\nlocal_addresses = ["10.0.1.5"]' + SERVER,
        WEB + SERVER + "weight = 0\n" + SERVER.replace("11", "12"),
        "[sysctl]\nforwarding = false\n" + WEB + 'forward = "dr"' + SERVER,
        WEB + "slow_start_s = 30" + SERVER,
        WEB.replace("192.0.2.10", "[2001:db8::1]") + SERVER.replace("10.0.0.11", "[2001:db8::2]"),
    ],
    ids=["empty", "interface", "fullnat", "weights", "dr", "slow-start", "ipv6"],
)
def test_nothing_is_said_of_what_is_as_the_file_says(file: Path, text: str) -> None:
    assert told(file, text) == []
    assert told(file, text, HERE) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (WEB, "2: service: it has no server: every new connection is refused"),
        (
            WEB + SERVER + "weight = 0\n",
            "2: service: all its servers have weight 0: every new connection is refused",
        ),
        (
            WEB
            + SERVER
            + WEB.replace("web", "api").replace(".10:", ".11:")
            + SERVER.replace("10.0.0.11", "192.0.2.10"),
            (
                '16: service.server.address: 192.0.2.10 is the virtual address of "web"; '
                "its service takes no packets of lvsd's own"
            ),
        ),
        (
            WEB
            + 'interface = "eth0"'
            + SERVER
            + WEB.replace("web", "tls").replace(":80", ":443")
            + 'interface = "eth1"'
            + SERVER,
            '14: service.interface: 192.0.2.10 is put on "eth1" and "eth0" (first on line 6)',
        ),
        (
            WEB + 'scheduler = "lc"\nslow_start_s = 30' + SERVER,
            (
                "7: service.slow_start_s: 30 with scheduler lc does nothing: "
                "it looks at no weight; wlc picks the same where all weights are equal"
            ),
        ),
        (
            WEB + 'scheduler = "mh"\nslow_start_s = 30' + SERVER,
            (
                "7: service.slow_start_s: 30 with scheduler mh does nothing: "
                "its weights say which clients are whose"
            ),
        ),
        (
            '[[service]]\nname = "marked"\nfwmark = 7\nforward = "dr"\n' + SERVER,
            "7: service.server.address: port 80 does nothing: dr changes no port",
        ),
    ],
    ids=[
        *("no-server", "weight-0", "chain", "two-interfaces", "slow-start-lc", "slow-start-mh"),
        "port-of-a-mark",
    ],
)
def test_what_the_file_alone_shows_is_a_warning(file: Path, text: str, warning: str) -> None:
    assert told(file, text) == [warning]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            WEB + 'interface = "eth9"' + SERVER,
            '6: service.interface: "eth9" is no interface of this machine now',
        ),
        (
            WEB + 'forward = "fullnat"\nlocal_addresses = [\n"10.0.1.5",\n"10.0.1.6"]' + SERVER,
            "9: service.local_addresses: 10.0.1.6 is no address of this machine now",
        ),
        (
            "[sysctl]\nforwarding = false\n" + WEB + SERVER,
            (
                "2: sysctl.forwarding: the kernel does not forward IPv4 now, and lvsd is told to "
                "leave that: no packet reaches a NAT server"
            ),
        ),
        (
            '[daemon]\ncontrol = "/run/lvsd"\n',
            '2: daemon.control: "/run/lvsd" is a directory, and no socket can be there',
        ),
    ],
    ids=["interface", "local-address", "forwarding", "control"],
)
def test_what_this_machine_does_not_have_is_a_warning(file: Path, text: str, warning: str) -> None:
    assert told(file, text, HERE) == [warning]


def test_a_local_address_that_lvsd_itself_puts_there_is_none(file: Path) -> None:
    text = WEB + 'interface = "eth0"' + SERVER + WEB.replace("web", "api").replace(".10:", ".11:")
    text += 'forward = "fullnat"\nlocal_addresses = ["192.0.2.10"]' + SERVER
    assert told(file, text, HERE) == []


def test_a_family_that_the_kernel_lacks_is_a_warning(file: Path) -> None:
    without = Host(HERE.interfaces, HERE.addresses, {4: True})
    text = WEB.replace("192.0.2.10", "[2001:db8::1]") + SERVER.replace("10.0.0.11", "[2001:db8::2]")
    assert told(file, text, without) == ["2: service: this kernel has no IPv6"]
