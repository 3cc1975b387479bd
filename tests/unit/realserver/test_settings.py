"""What the options of ``lvsd realserver`` mean, and which tunnels they need."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

import pytest

from lvsd.packet.address import pack
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import TunnelEnd, ends
from lvsd.realserver.settings import Settings

VIP4, VIP6 = "192.0.2.10", "2001:db8::10"


def test_the_order_of_addresses_means_nothing() -> None:
    one = Settings.of("dr", [VIP6, VIP4, VIP4])
    assert one == Settings.of("dr", [VIP4, VIP6])
    assert one.vips == (pack(VIP4), pack(VIP6))


@pytest.mark.parametrize(
    "settings",
    [
        Settings.of("dr", [VIP4, VIP6], interface="dummy0"),
        Settings.of("tun", [VIP6], tunnel="gue", port=5555, directors=["10.0.0.1", "fd00::1"]),
        Settings.of("tun", [VIP4], tunnel="gre", by="kernel", mss="1400"),
        Settings.of("tun", [VIP4], mss="auto"),
    ],
)
def test_settings_come_back_from_json(settings: Settings) -> None:
    assert Settings.from_json(settings.json()) == settings


def test_gue_has_its_assigned_port_unless_told_otherwise() -> None:
    assert Settings.of("tun", [VIP4], tunnel="gue").port == 6080
    assert Settings.of("tun", [VIP4], tunnel="gue", port=5555).port == 5555


@pytest.mark.parametrize(
    "address", ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1"]
)
def test_an_address_that_cannot_be_virtual_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="cannot be a virtual address"):
        Settings.of("dr", [address])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match=f"--port {port} is not 1 to 65535"):
        Settings.of("tun", [VIP4], tunnel="gue", port=port)


def test_dr_needs_no_tunnel() -> None:
    assert ends(Settings.of("dr", [VIP4, VIP6])) == []


def test_ip_in_ip_needs_only_the_versions_of_the_virtual_addresses() -> None:
    assert ends(Settings.of("tun", [VIP4])) == [
        TunnelEnd(Carrier.IPV4, AF_INET),
        TunnelEnd(Carrier.IPV4, AF_INET6),
    ]
    assert ends(Settings.of("tun", [VIP6])) == [
        TunnelEnd(Carrier.IPV6, AF_INET),
        TunnelEnd(Carrier.IPV6, AF_INET6),
    ]


def test_named_directors_say_over_which_version_tunnels_come() -> None:
    settings = Settings.of("tun", [VIP4, VIP6], tunnel="gre", directors=["10.0.0.1"])
    assert ends(settings) == [TunnelEnd(Carrier.GRE, AF_INET)]
    assert [str(end) for end in ends(settings)] == ["GRE in IPv4"]


def test_no_mss_is_limited_unless_told_so() -> None:
    assert Settings.of("tun", [VIP4]).mss is None


@pytest.mark.parametrize(("word", "mss"), [("auto", "auto"), ("88", 88), ("65495", 65495)])
def test_an_mss_is_a_number_or_found_out(word: str, mss: object) -> None:
    assert Settings.of("tun", [VIP4], mss=word).mss == mss


@pytest.mark.parametrize("word", ["", "87", "65496", "-1400", "1e3", "٣٠٠", "Auto"])
def test_an_mss_that_cannot_be_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"--mss {word} is neither auto nor 88 to 65495"):
        Settings.of("tun", [VIP4], mss=word)


def test_dr_has_no_mss_to_limit() -> None:
    with pytest.raises(ValueError, match="go with --mode tun only"):
        Settings.of("dr", [VIP4], mss="auto")


def test_settings_of_a_journal_without_mss_limit_none() -> None:
    content = Settings.of("tun", [VIP4]).json()
    del content["mss"]
    assert Settings.from_json(content) == Settings.of("tun", [VIP4])
