"""What leads from one state to another leads there, in as few steps as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given

from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService, EditServer, EditService
from lvsd.core.difference import difference
from lvsd.core.settings import Settings
from tests.property.core.states import states
from tests.property.examples import examples

if TYPE_CHECKING:
    from lvsd.core.wanted import Wanted


def all_of(wanted: Wanted) -> Any:
    """Return everything that is wanted; the order of things is no part of it."""
    services = {key: (each.config, each.servers) for key, each in wanted.services.items()}
    return wanted.timeouts, wanted.settings, services


def had_by(balancer: Balancer) -> Any:
    """Return what a balancer has, in the same shape."""
    services = {
        each.key: (each.config, {server.config.place: server.config for server in each.servers})
        for each in balancer.services
    }
    return balancer.timeouts(), balancer.settings, services


def balancer_with(wanted: Wanted) -> Balancer:
    """Return a balancer that has what is wanted."""
    balancer = Balancer(make_scheduler, Settings(**_fields(wanted.settings)))
    balancer.apply(wanted.commands(), 0.0)
    return balancer


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


@examples(400)
@given(now=states(), then=states())
def test_the_difference_leads_from_one_state_to_the_other(now: Wanted, then: Wanted) -> None:
    commands = difference(now, then)
    balancer = balancer_with(now)
    assert had_by(balancer) == all_of(now)
    before = {each.key: (each, each.scheduler, tuple(each.servers)) for each in balancer.services}
    balancer.apply(commands, 1.0)
    assert had_by(balancer) == all_of(then)
    now.do(commands)
    assert all_of(now) == all_of(then)
    for service in balancer.services:
        if service.key in before and not any(_is_about(each, service.key) for each in commands):
            was = before[service.key]
            assert (service, service.scheduler, tuple(service.servers)) == was


def _is_about(command: Any, key: Any) -> bool:
    if isinstance(command, AddService | EditService):
        return bool(command.config.key == key)
    return key in {getattr(command, "key", None), getattr(command, "service", None)}


@examples(200)
@given(now=states(), then=states())
def test_it_has_no_command_too_many(now: Wanted, then: Wanted) -> None:
    assert difference(now, now) == []
    assert difference(then, then) == []
    gone = sum(key not in then.services for key in now.services)
    differ = (now.timeouts != then.timeouts) + (now.settings != then.settings)
    for key, wanted in then.services.items():
        was = now.services.get(key)
        places = {**was.servers, **wanted.servers} if was else wanted.servers
        differ += was is None or was.config != wanted.config
        old = was.servers if was else {}
        differ += sum(old.get(each) != wanted.servers.get(each) for each in places)
    assert len(difference(now, then)) == gone + differ


@examples(200)
@given(now=states(), then=states())
def test_new_servers_come_in_their_order_and_before_any_goes(now: Wanted, then: Wanted) -> None:
    for key, wanted in then.services.items():
        of_it = [each for each in difference(now, then) if getattr(each, "service", None) == key]
        added = [each.config.place for each in of_it if isinstance(each, AddServer)]
        assert added == [place for place in wanted.servers if place in set(added)]
        edited = [each.config.weight for each in of_it if isinstance(each, EditServer)]
        assert edited == sorted(edited, key=lambda weight: not weight)
        kinds = [type(each).__name__ for each in of_it]
        assert kinds == sorted(kinds)  # AddServer, EditServer, RemoveServer
