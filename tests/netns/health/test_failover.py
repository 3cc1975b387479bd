"""Real servers that die, hang or lie: clients are kept from them, and find them again."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import ControlError, KernelError
from lvsd.lab.wait import until
from tests.netns.health.conftest import DOWN_S, PORT, RPORT, TIMEOUT_S, Checks, checked, liar
from tests.netns.traffic.site import FAMILIES, of, running

if TYPE_CHECKING:
    from tests.netns.health.conftest import Farm
    from tests.netns.traffic.site import Family, Site

HOLE = "table inet hole { chain in { type filter hook input priority 0; policy drop; }; }"
UP, DOWN = "up", "quiesced"
NOBODY = "no real server of a service is up"


def servers(site: Site, family: Family, visits: int = 12) -> set[str]:
    """Return who answers so many clients; each of them gets an answer, or this fails."""
    return set(site.visits(family, PORT, visits))


def names(farm: Farm, *numbers: int) -> set[str]:
    """Return what these servers call themselves."""
    return {farm.lab.servers[each].name for each in numbers}


def is_replaced(site: Site) -> bool:
    """Whether another engine is at work."""
    try:
        return bool(site.call("status")["groups"]["engine"]["replaced"])
    except ControlError:  # it is being replaced: ask again
        return False


SAID = {
    "503": "HTTP status 503, expected 200-399",
    "slow": f"no answer within {TIMEOUT_S} s",
    "silent": f"no answer within {TIMEOUT_S} s",
    "garbage": "no HTTP",
    "reset": "connection reset by peer",
    "endless": "too long",
}


@pytest.mark.parametrize("behaviour", SAID)
def test_a_server_that_lies_is_down_with_its_reason_and_no_client_meets_it(
    checks: Checks, farm: Farm, family: Family, behaviour: str
) -> None:
    site = checks.site
    assert servers(site, family) == names(farm, 0, 1, 2)
    farm.told(1, behaviour)
    checks.come_to(family, UP, DOWN, UP)
    assert SAID[behaviour] in checks.entries(family)[1]["said"]
    assert servers(site, family) == names(farm, 0, 2)
    farm.told(1, "200")
    checks.come_to(family, UP, UP, UP)
    assert servers(site, family) == names(farm, 0, 1, 2)


def test_a_stopped_process_is_down_until_it_goes_on(
    checks: Checks, farm: Farm, family: Family
) -> None:
    process = farm.programs[0].process.pid
    os.kill(process, signal.SIGSTOP)
    try:
        checks.come_to(family, DOWN, UP, UP)
        assert checks.entries(family)[0]["said"] == f"no answer within {TIMEOUT_S} s"
        assert servers(checks.site, family) == names(farm, 1, 2)
    finally:
        os.kill(process, signal.SIGCONT)
    checks.come_to(family, UP, UP, UP)


def test_a_killed_process_is_down_until_it_is_back(
    checks: Checks, farm: Farm, family: Family
) -> None:
    farm.programs[2].stop()
    checks.come_to(family, UP, UP, DOWN)
    assert checks.entries(family)[2]["said"] == "connection refused"
    assert servers(checks.site, family) == names(farm, 0, 1)
    farm.programs[2] = liar(farm.lab.servers[2])
    checks.come_to(family, UP, UP, UP)


def test_a_black_hole_is_down(checks: Checks, farm: Farm, family: Family) -> None:
    host = farm.lab.servers[1]
    host.run(["nft", HOLE])
    try:
        checks.come_to(family, UP, DOWN, UP)
        assert servers(checks.site, family) == names(farm, 0, 2)
    finally:
        host.run(["nft", "delete table inet hole"])


def test_when_all_are_down_clients_are_refused_at_once(farm: Farm, family: Family) -> None:
    farm.well()
    tables = [checked(farm.lab, each) for each in FAMILIES]
    with running(farm.lab, *tables, errors=[NOBODY]) as site:
        found = Checks(site)
        for number in range(3):
            farm.told(number, "503")
        found.come_to(family, DOWN, DOWN, DOWN)
        with pytest.raises(KernelError, match="Connection refused"):
            site.get(family, PORT)
        assert NOBODY in site.daemon.log
        farm.well()
        found.come_to(family, UP, UP, UP)
        assert servers(site, family) == names(farm, 0, 1, 2)


def test_with_all_down_ignored_they_go_on_serving(farm: Farm, family: Family) -> None:
    farm.well()
    tables = [checked(farm.lab, each, 'all_down = "ignore"') for each in FAMILIES]
    with running(farm.lab, *tables, errors=[NOBODY]) as site:
        found = Checks(site)
        for number in range(2):
            farm.told(number, "503")
        found.come_to(family, DOWN, DOWN, UP)
        farm.told(2, "503")
        assert until(lambda: not any(each["up"] for each in found.entries(family)), DOWN_S)
        found.come_to(family, UP, UP, UP)
        farm.well()


def test_a_sorry_server_stands_in_and_steps_back(farm: Farm, family: Family) -> None:
    farm.well()
    tables = [checked(farm.lab, each, last="backup = true") for each in FAMILIES]
    with running(farm.lab, *tables) as site:
        found = Checks(site)
        found.come_to(family, UP, UP, "standby")
        assert servers(site, family) == names(farm, 0, 1)
        for number in range(2):
            farm.told(number, "503")
        found.come_to(family, DOWN, DOWN, UP)
        assert servers(site, family) == names(farm, 2)
        farm.told(0, "200")
        found.come_to(family, UP, DOWN, "standby")
        assert servers(site, family) == names(farm, 0)
        farm.well()


@pytest.mark.parametrize("on_failure", ["quiesce", "remove"])
def test_another_engine_knows_who_is_down(farm: Farm, family: Family, on_failure: str) -> None:
    farm.well()
    tables = [checked(farm.lab, each, f'on_failure = "{on_failure}"') for each in FAMILIES]
    with running(farm.lab, *tables, errors=["the engine ended"]) as site:
        found = Checks(site)
        farm.told(1, "503")
        health = "quiesced" if on_failure == "quiesce" else "removed"
        found.come_to(family, UP, health, UP)
        os.kill(site.daemon.engine, signal.SIGKILL)
        assert until(lambda: is_replaced(site), DOWN_S)
        assert servers(site, family) == names(farm, 0, 2)
        listed = site.service(f"web-{family}")["servers"]
        told = {each["address"]: each["health"] for each in listed}
        assert told[of(farm.lab.servers[1].addresses, family)] == health
        farm.well()


def test_a_server_that_lvsadm_adds_is_checked_and_one_that_it_removes_is_not(
    farm: Farm, family: Family
) -> None:
    farm.well()
    tables = [checked(farm.lab, each, servers=2) for each in FAMILIES]
    with running(farm.lab, *tables) as site:
        found = Checks(site)
        found.come_to(family, UP, UP)
        vip, third = of(site.lab.vip, family), of(farm.lab.servers[2].addresses, family)
        ends = [f"[{each}]" if ":" in each else each for each in (vip, third)]
        farm.told(2, "503")
        service, server = f"{ends[0]}:{PORT}", f"{ends[1]}:{RPORT}"
        site.lvsadm("-a", "-t", service, "-r", server, "-m")
        found.come_to(family, UP, UP, DOWN)
        assert servers(site, family) == names(farm, 0, 1)
        site.lvsadm("-d", "-t", service, "-r", server)
        found.come_to(family, UP, UP)
        farm.well()


def test_lvsadm_lists_checks_and_asks_at_once(checks: Checks, farm: Farm) -> None:
    site = checks.site
    listed = site.lvsadm("checks", "web-v4")
    address = f"{farm.lab.servers[0].addresses.v4}:{RPORT}"
    assert f"-> {address}" in listed
    assert "HTTP status 200" in listed
    assert f"{address} is well: HTTP status 200" in site.lvsadm("check", "web-v4", address)
