"""Local ports that are FULLNAT's while the daemon runs: what is asked of the machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from lvsd.core.commands import KeepPorts, ServiceChange
from lvsd.core.local_pool import PORTS, LocalPool
from lvsd.core.values import ServiceConfig, ServiceKey
from lvsd.errors import KernelError
from lvsd.io import sysctls
from lvsd.supervisor import own_ports

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lvsd.core.local_pool import Range


class Recorder:
    """Takes what is to be set; or refuses it."""

    def __init__(self, refusal: KernelError | None = None) -> None:
        self.refusal = refusal
        self.set: dict[str, int | str] = {}

    def set_sysctl(self, name: str, value: int | str) -> None:
        """Note a value."""
        if self.refusal:
            raise self.refusal
        self.set[name] = value


def _shared(
    monkeypatch: pytest.MonkeyPatch,
    machine: Recorder,
    host: str,
    given: set[Range],
    kept: tuple[Range, ...] = (),
) -> list[MutableMapping[str, Any]]:
    """Share ports where the host takes those from ``host``; return what was logged.

    ``kept`` are to be FULLNAT's no more.
    """
    said = {own_ports.RANGE: host, own_ports.RESERVED: "8080"}
    monkeypatch.setattr(sysctls, "read", said.__getitem__)
    ports = own_ports.OwnPorts()
    with capture_logs() as logs:
        ports.share(given, machine)  # type: ignore[arg-type]  # in its place
    assert ports.kept == kept
    return logs


def test_what_is_reserved_already_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Recorder()
    _shared(monkeypatch, machine, "32768 60999", {(40000, 40009)})
    assert machine.set == {own_ports.RESERVED: "8080,40000-40009"}


@pytest.mark.parametrize("given", [set(), {(1025, 32767)}])
def test_nothing_is_changed_where_no_ports_are_in_question(
    monkeypatch: pytest.MonkeyPatch, given: set[Range]
) -> None:
    machine = Recorder()
    assert _shared(monkeypatch, machine, "32768 60999", given) == []
    assert machine.set == {}


def test_a_kernel_that_refuses_is_said_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Recorder(KernelError("set sysctl", "read-only", "make it writable"))
    kept = ((52808, 60999),)
    (entry,) = _shared(monkeypatch, machine, "32768 60999", {PORTS}, kept)
    assert entry["log_level"] == "warning"
    assert "read-only" in entry["error"]


def test_a_host_that_is_left_few_ports_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = _shared(monkeypatch, Recorder(), "40000 40999", {(40000, 40989)})
    assert [(each["log_level"], each.get("left")) for each in logs] == [
        ("info", None),
        ("warning", 10),
    ]


def test_more_ranges_are_reserved_beside_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, ports = Recorder(), own_ports.OwnPorts()
    said: dict[str, Any] = {own_ports.RANGE: "32768 60999", own_ports.RESERVED: "8080"}
    monkeypatch.setattr(sysctls, "read", said.__getitem__)
    for given in ({(40000, 40009)}, {(50000, 50009)}, {(40000, 40009), (50000, 50009)}):
        ports.share(given, machine)  # type: ignore[arg-type]  # in its place
        said |= machine.set
    assert said[own_ports.RESERVED] == "8080,40000-40009,50000-50009"
    assert not ports.needs({(40000, 40009)})
    assert ports.needs({(40000, 40010)})


def test_no_port_is_given_back_while_a_connection_may_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, ports = Recorder(), own_ports.OwnPorts()
    said: dict[str, Any] = {own_ports.RANGE: "32768 60999", own_ports.RESERVED: ""}
    monkeypatch.setattr(sysctls, "read", said.__getitem__)
    ports.share({(58000, 58009)}, machine)  # type: ignore[arg-type]  # in its place
    said |= machine.set
    ports.share({PORTS}, machine)  # type: ignore[arg-type]  # in its place
    assert ports.kept == ((52798, 57999), (58010, 60999))
    assert str(machine.set[own_ports.RESERVED]).endswith(",58000-58009")


def test_the_engine_is_told_what_the_host_keeps_when_that_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, ports = Recorder(), own_ports.OwnPorts()
    said = {own_ports.RANGE: "32768 60999", own_ports.RESERVED: ""}
    monkeypatch.setattr(sysctls, "read", said.__getitem__)
    key = ServiceKey(6, b"\xc0\0\2\1", 80)
    pool = LocalPool((b"\x0a\0\0\1",), *PORTS)
    come = [ServiceChange(key, None, ServiceConfig(key, local=pool))]
    ports.start(set(), machine, is_on=False)  # type: ignore[arg-type]  # in its place

    async def told() -> list[Any]:
        off = await ports.prepare(come, ())
        await ports.switch_on({PORTS})
        return [off, await ports.prepare([], ()), await ports.prepare(come, ports.kept)]

    kept = ((52808, 60999),)
    assert asyncio.run(told()) == [[], [KeepPorts(kept)], []]
    assert machine.set == {own_ports.RESERVED: "32768-52807"}


def test_a_service_that_comes_has_its_ports_shared_first(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, ports = Recorder(), own_ports.OwnPorts()
    said = {own_ports.RANGE: "32768 60999", own_ports.RESERVED: ""}
    monkeypatch.setattr(sysctls, "read", said.__getitem__)
    key = ServiceKey(6, b"\xc0\0\2\1", 80)
    ports.start(set(), machine, is_on=True)  # type: ignore[arg-type]  # in its place
    without = [ServiceChange(key, None, ServiceConfig(key))]
    assert asyncio.run(ports.prepare(without, ())) == []
    assert machine.set == {}
    pool = LocalPool((b"\x0a\0\0\1",), 40000, 40009)
    come = [ServiceChange(key, None, ServiceConfig(key, local=pool))]
    assert asyncio.run(ports.prepare(come, ())) == []
    assert machine.set == {own_ports.RESERVED: "40000-40009"}
