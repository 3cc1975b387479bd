"""What is wanted after commands is what a balancer has that did them, or nothing of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import (
    AddServer,
    AddService,
    Clear,
    Drain,
    DrainChange,
    EditServer,
    EditService,
    HealthChange,
    RemoveServer,
    RemoveService,
    ServerChange,
    ServiceChange,
    SetHealth,
    SetTimeouts,
    TimeoutsChange,
    Undrain,
    Zero,
    Zeroed,
)
from lvsd.core.difference import difference
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey
from lvsd.core.wanted import Wanted
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.commands import Command

VIP: Final = b"\xc0\x00\x02\x01"
WEB, DNS, MARK = ServiceKey(6, VIP, 80), ServiceKey(17, VIP, 53), ServiceKey(fwmark=7)
KEYS: Final = (WEB, DNS, MARK)


def service(key: ServiceKey = WEB, scheduler: str = "rr", **options: object) -> ServiceConfig:
    return ServiceConfig(key, scheduler, **options)  # type: ignore[arg-type]


def server(number: int = 1, weight: int = 1, way: Forwarder | None = None) -> ServerConfig:
    return ServerConfig(bytes((10, 0, 0, number)), 80, way or Nat(), weight)


def balancer_with(commands: list[Command]) -> Balancer:
    balancer = Balancer(make_scheduler)
    balancer.apply(commands, 0.0)
    return balancer


def held(balancer: Balancer) -> list[tuple[ServiceConfig, list[ServerConfig]]]:
    """Return what a balancer has: services in their order, servers from the newest on."""
    return [(each.config, [one.config for one in each.servers]) for each in balancer.services]


@pytest.fixture
def wanted() -> Wanted:
    found = Wanted((900, 120, 300))
    found.do([AddService(service()), AddServer(WEB, server(1)), AddServer(WEB, server(2))])
    return found


def all_reached(wanted: Wanted) -> dict[str, set[bytes]]:
    return {mode: set(wanted.reached(mode)) for mode in ("nat", "dr", "tun", "fullnat")}


def state(wanted: Wanted) -> list[Command]:
    return list(wanted.commands())


def test_its_commands_make_a_balancer_that_has_the_same(wanted: Wanted) -> None:
    changes: list[Command] = [
        EditServer(WEB, server(1, 5)),
        AddService(service(DNS, "wlc")),
        AddServer(DNS, server(3)),
        RemoveServer(WEB, *server(2).place),
        AddServer(WEB, server(2)),
        SetTimeouts(udp_s=30),
    ]
    one = balancer_with(state(wanted))
    one.apply(changes, 0.0)
    wanted.do(changes)
    other = balancer_with(state(wanted))
    assert held(one) == held(other)
    assert one.timeouts() == other.timeouts() == (900, 120, 30)


def test_what_changes_is_told_with_what_was_before(wanted: Wanted) -> None:
    edited = service(scheduler="wlc")
    assert wanted.do(
        [
            EditService(edited),
            EditServer(WEB, server(1, 3)),
            RemoveServer(WEB, *server(2).place),
            SetTimeouts(tcp_s=10),
            Zero(WEB),
            RemoveService(WEB),
        ]
    ) == [
        ServiceChange(WEB, service(), edited),
        ServerChange(WEB, *server(1).place, server(1), server(1, 3)),
        ServerChange(WEB, *server(2).place, server(2), None),
        TimeoutsChange((900, 120, 300), (10, 120, 300)),
        Zeroed(WEB),
        ServiceChange(WEB, edited, None),
    ]


def test_what_stays_as_it_was_is_no_change(wanted: Wanted) -> None:
    same: list[Command] = [EditService(service()), EditServer(WEB, server(1)), SetTimeouts(900)]
    assert wanted.do(same) == []


def test_a_real_server_of_a_mark_may_have_a_port_that_means_nothing(wanted: Wanted) -> None:
    wanted.do([AddService(service(MARK)), AddServer(MARK, server(1, way=Dr()))])
    assert list(wanted.services[MARK].servers) == [(bytes((10, 0, 0, 1)), 80)]


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (AddService(service()), "Service already exists"),
        (EditService(service(DNS)), "No such service"),
        (RemoveService(DNS), "No such service"),
        (AddServer(WEB, server(1)), "Destination already exists"),
        (AddServer(DNS, server(1)), "No such service"),
        (EditServer(WEB, server(9)), "No such destination"),
        (RemoveServer(WEB, b"\x0a\0\0\x09", 80), "No such destination"),
        (AddService(service(DNS, one_packet=True, prefix=33)), "prefix of 33"),
        (EditService(service(one_packet=True)), "One-Packet Scheduling is only for UDP"),
        (AddServer(WEB, server(3, way=Fullnat())), "needs local addresses"),
        (AddServer(WEB, ServerConfig(b"\x0a\0\0\x03", 81, Dr())), "changes no port"),
        (AddServer(WEB, ServerConfig(b"\x20" * 16, 80, Nat())), "not of the service's family"),
        (AddServer(WEB, replace(server(3), upper=5, lower=6)), "Numerical result out of range"),
        (AddServer(WEB, ServerConfig(b"\xe0\0\0\x01", 80, Nat())), "address not unicast"),
        (AddServer(WEB, ServerConfig(b"\xff" * 4, 80, Nat())), "address not unicast"),
        (AddServer(WEB, ServerConfig(b"\xfe\x80" + bytes(14), 80, Nat())), "not unicast"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "",
)
def test_a_list_that_cannot_be_done_leaves_everything_as_it_was(
    wanted: Wanted, refused: Command, why: str
) -> None:
    before = state(wanted)
    ahead: list[Command] = [
        RemoveServer(WEB, *server(1).place),
        AddServer(WEB, server(1, 7)),
        AddService(service(MARK)),
        EditService(service(scheduler="lc")),
        SetTimeouts(1, 2, 3),
    ]
    with pytest.raises(ControlError, match=why):
        wanted.do([*ahead, refused])
    assert state(wanted) == before
    with pytest.raises(ControlError, match=why):
        wanted.would_change([*ahead, refused])
    assert state(wanted) == before


def test_to_look_what_would_change_changes_nothing(wanted: Wanted) -> None:
    wanted.do([AddService(service(DNS)), AddServer(DNS, server(1))])
    before, reached = state(wanted), all_reached(wanted)
    changes = wanted.would_change(
        [RemoveService(WEB), RemoveServer(DNS, *server(1).place), AddService(service(WEB))]
    )
    assert len(changes) == 3
    assert (state(wanted), all_reached(wanted)) == (before, reached)


def test_a_tunnel_may_lead_to_the_other_family_and_a_service_of_fullnat_has_addresses(
    wanted: Wanted,
) -> None:
    local = LocalPool((b"\x0a\0\0\x05",))
    wanted.do(
        [
            EditService(service(local=local)),
            AddServer(WEB, ServerConfig(b"\x20" * 16, 80, Tun())),
            AddServer(WEB, server(3, way=Fullnat())),
        ]
    )
    with pytest.raises(ControlError, match="needs local addresses"):
        wanted.do([EditService(service())])


def test_real_servers_are_known_by_all_their_modes(wanted: Wanted) -> None:
    shared = server(1).address
    wanted.do([AddService(service(DNS)), AddServer(DNS, ServerConfig(shared, 53, Dr()))])
    assert {mode for mode, each in all_reached(wanted).items() if shared in each} == {"nat", "dr"}
    wanted.do([RemoveService(DNS)])
    assert {mode for mode, each in all_reached(wanted).items() if shared in each} == {"nat"}
    wanted.do([RemoveServer(WEB, shared, 80)])
    assert shared not in wanted.addresses()


def test_a_drain_is_kept_until_it_is_over_or_the_server_goes(wanted: Wanted) -> None:
    first, second = server(1).place, server(2).place
    before = state(wanted)
    assert wanted.do([Drain(WEB, *first, 60)]) == [
        DrainChange(WEB, *first, is_drained=True, deadline_s=60)
    ]
    wanted.do([EditServer(WEB, server(1, 9)), Drain(WEB, *second)])
    assert state(wanted)[-2:] == [Drain(WEB, *first, 60), Drain(WEB, *second)]
    again = Drain(WEB, *first, 60, since=7.0)
    wanted.would_change([again, Undrain(WEB, *first), again, Undrain(WEB, *second)])
    assert state(wanted)[-2:] == [Drain(WEB, *first, 60), Drain(WEB, *second)]
    with pytest.raises(ControlError, match="No such destination"):
        wanted.do([Undrain(WEB, *first), Drain(WEB, b"\x0a\0\0\x09", 80)])
    assert Drain(WEB, *first, 60) in state(wanted)
    wanted.do([Undrain(WEB, *first), EditServer(WEB, server(1))])
    wanted.do([RemoveServer(WEB, *second), AddServer(WEB, server(2))])
    assert wanted.do([Undrain(WEB, *first)]) == []
    assert state(wanted) == before


def test_who_is_not_up_is_kept_until_it_is_or_the_server_goes(wanted: Wanted) -> None:
    first, second = server(1).place, server(2).place
    before = state(wanted)
    removed = SetHealth(WEB, *first, Health.REMOVED)
    standby = SetHealth(WEB, *second, Health.STANDBY)
    assert wanted.do([removed]) == [HealthChange(WEB, *first, Health.UP, Health.REMOVED)]
    assert wanted.do([removed]) == []
    wanted.do([EditServer(WEB, server(1, 9)), standby, EditService(replace(service(), name="x"))])
    assert state(wanted)[-2:] == [removed, standby]
    up = [SetHealth(WEB, *each, Health.UP) for each in (first, second)]
    wanted.would_change([*up, removed, RemoveServer(WEB, *second), RemoveService(WEB)])
    assert state(wanted)[-2:] == [removed, standby]
    with pytest.raises(ControlError, match="No such destination"):
        wanted.do([*up, SetHealth(WEB, b"\x0a\0\0\x09", 80, Health.UP)])
    assert state(wanted)[-2:] == [removed, standby]
    assert wanted.do(up[:1]) == [HealthChange(WEB, *first, Health.REMOVED, Health.UP)]
    wanted.do([EditServer(WEB, server(1)), EditService(service())])
    wanted.do([RemoveServer(WEB, *second), AddServer(WEB, server(2))])
    assert wanted.do(up) == []
    assert state(wanted) == before


def test_a_balancer_that_is_told_all_has_the_same_health(wanted: Wanted) -> None:
    wanted.do([SetHealth(WEB, *server(2).place, Health.QUIESCED)])
    balancer = balancer_with(state(wanted))
    found = {each.config.place: each.health for each in balancer.services.get(WEB).servers}
    assert found.pop(server(2).place) is Health.QUIESCED
    assert set(found.values()) == {Health.UP}


def test_a_reload_undoes_no_health_and_no_drain(wanted: Wanted) -> None:
    file = Wanted(wanted.timeouts)
    file.do(list(wanted.commands()))
    first, second = server(1).place, server(2).place
    off_duty: list[Command] = [
        Drain(WEB, *second, 60),
        SetHealth(WEB, *first, Health.QUIESCED),
        SetHealth(WEB, *second, Health.REMOVED),
    ]
    wanted.do([*off_duty, EditServer(WEB, server(1, 9))])
    assert difference(wanted, file) == [EditServer(WEB, server(1))]
    wanted.do(difference(wanted, file))
    assert state(wanted)[-3:] == off_duty
    assert difference(wanted, file) == []


def test_what_a_start_wants_is_what_its_commands_want() -> None:
    commands: list[Command] = [
        SetTimeouts(7, 8, 9),
        AddService(service()),
        AddServer(WEB, server(2)),
        AddServer(WEB, server(1)),
        AddService(service(DNS)),
        AddServer(DNS, ServerConfig(server(1).address, 53, Dr())),
    ]
    one, other = Wanted((0, 0, 0)), Wanted((0, 0, 0))
    assert list(one.beginning(commands)) == commands
    other.do(commands)
    assert (state(one), all_reached(one)) == (state(other), all_reached(other))
    assert list(one.addresses()) == [server(2).address, server(1).address]
    assert [one.has(server(number).address) for number in (1, 2, 3)] == [True, True, False]


def test_a_clear_removes_what_there_is_when_it_is_its_turn(wanted: Wanted) -> None:
    changes: list[Command] = [
        RemoveService(WEB),
        AddService(service(DNS)),
        Clear(),
        AddService(service(MARK)),
    ]
    balancer = balancer_with(state(wanted))
    balancer.apply(changes, 0.0)
    wanted.do(changes)
    assert list(wanted.services) == [MARK] == [each.key for each in balancer.services]
    balancer.apply([Clear()], 0.0)
    assert held(balancer) == []


def test_a_clear_in_a_list_that_is_refused_removes_nothing(wanted: Wanted) -> None:
    balancer = balancer_with(state(wanted))
    before, had = state(wanted), held(balancer)
    refused: list[Command] = [Clear(), AddService(service()), Zero(DNS)]
    for one in (wanted.would_change, wanted.do, lambda them: balancer.apply(them, 0.0)):
        with pytest.raises(ControlError, match="No such service"):
            one(refused)
    assert (state(wanted), held(balancer)) == (before, had)
