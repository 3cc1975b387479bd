"""Services as typed, endpoints as printed."""

from __future__ import annotations

import socket

import pytest

from lvsd.control import names
from lvsd.control.names import Names, parse_service
from lvsd.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.10:80", ("192.0.2.10", 80)),
        ("192.0.2.10", ("192.0.2.10", 0)),
        ("192.0.2.10:0", ("192.0.2.10", 0)),
        ("192.0.2.10:65535", ("192.0.2.10", 65535)),
        ("[2001:db8::10]:80", ("2001:db8::10", 80)),
        ("[2001:DB8:0::10]:80", ("2001:db8::10", 80)),
        ("2001:db8::10", ("2001:db8::10", 0)),
    ],
)
def test_a_service_is_understood(text: str, expected: tuple[str, int]) -> None:
    assert parse_service(text, "tcp") == expected


@pytest.mark.parametrize(
    "text",
    ["", "80", ":80", "[2001:db8::10]", "[2001:db8::10", "[192.0.2.10]:80", "[]:80", "80:80"],
)
def test_what_is_no_service_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        parse_service(text, "tcp")


@pytest.mark.parametrize("port", ["65536", "-1", "", "no-such-port", "\u0664"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(UsageError, match="is no tcp port"):
        parse_service(f"192.0.2.10:{port}", "tcp")


def test_names_of_hosts_and_ports_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname", {"www.example.net": "192.0.2.10"}.__getitem__)
    monkeypatch.setattr(socket, "getservbyname", lambda *key: {("domain", "udp"): 53}[key])
    assert parse_service("www.example.net:domain", "udp") == ("192.0.2.10", 53)


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    with pytest.raises(UsageError, match="'www' is no address, and no name of one"):
        parse_service("www:80", "tcp")


@pytest.mark.parametrize(
    ("address", "expected"), [("192.0.2.10", "192.0.2.10:80"), ("2001:db8::1", "[2001:db8::1]:80")]
)
def test_numeric_endpoints_look_nothing_up(
    address: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "gethostbyaddr")
    monkeypatch.delattr(socket, "getservbyport")
    assert Names(numeric=True).endpoint(address, 80, "tcp") == expected


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(address: str) -> tuple[str, list[str], list[str]]:
        asked.append(address)
        return "rs1", [], []

    monkeypatch.setattr(socket, "gethostbyaddr", answer)
    names._host.cache_clear()
    printed = [Names(numeric=False).endpoint("10.0.0.11", 0, "ip") for _ in range(3)]
    names._host.cache_clear()
    assert (printed, asked) == (["rs1:0"] * 3, ["10.0.0.11"])
