"""What follows from a few changes at once is what a look at everything finds."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import (
    AddServer,
    AddService,
    EditServer,
    RemoveServer,
    RemoveService,
    SetTimeouts,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.engine.diversions import Diversions, Gathered
from lvsd.engine.messages import Divert, Settled
from lvsd.engine.settling import FEW, settling, settling_few
from lvsd.io.diverting import diverted
from lvsd.io.ruleset import Diverted
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Generator

    from lvsd.core.commands import Changes, Command

HERE: Final = bytes((10, 0, 0, 1))
VIPS: Final = [bytes((192, 0, 2, number)) for number in range(1, 5)]
RIPS: Final = [bytes((10, 0, 1, number)) for number in range(1, 9)]
WAYS: Final = {each: Way(1400, HERE, is_local=each == RIPS[0]) for each in (*RIPS, *VIPS)}
FORWARDERS: Final = (Nat(), Dr(), Tun(), Tun("gue", 6080), Fullnat())
WEB: Final = ServiceKey(6, VIPS[0], 80)


class Told:
    """A balancer, and what the supervisor has gathered of what is to be diverted for it."""

    def __init__(self) -> None:
        self.balancer = Balancer(make_scheduler)
        self.gathered = Gathered()
        self.settled = 0
        self.diversions = Diversions(self.balancer.services, self._hear)

    def _hear(self, message: object) -> None:
        if isinstance(message, Divert):
            self.gathered.take(message)
        elif isinstance(message, Settled):
            self.settled = message.number

    def change(self, number: int, *commands: Command) -> bool:
        """Do a list, and what follows; return whether that was done at once."""
        changes = self.balancer.apply(commands, 0.0)
        at_once = exhaust(self.following(number, changes))
        if not at_once:
            for _ in settling(self.balancer, WAYS):
                pass
            for _ in self.diversions.telling(number):
                pass
        assert self.settled == number
        return bool(at_once)

    def following(self, number: int, changes: Changes) -> Generator[None, None, bool | None]:
        """Do what follows from a few changes, step by step."""
        return settling_few(self.balancer, WAYS, self.diversions, number, changes)

    def agrees(self) -> bool:
        """Whether that is what a look at everything finds."""
        return self.gathered.diverted == diverted(self.balancer.services)


def service(random: Random) -> ServiceConfig:
    local = LocalPool((HERE,))
    if random.random() < 0.2:
        return ServiceConfig(ServiceKey(fwmark=random.randrange(1, 3)), "rr", local=local)
    port, vip = random.choice((0, 21, 80, 500)), random.choice(VIPS)
    persistence_s = random.choice((0, 60))
    key = ServiceKey(random.choice((6, 17)), vip, port)
    return ServiceConfig(key, "rr", persistence_s=persistence_s, local=local)


def server(random: Random, vport: int) -> ServerConfig:
    address = random.choice((*RIPS, VIPS[-1]))
    return ServerConfig(address, vport, random.choice(FORWARDERS))


@pytest.mark.parametrize("seed", range(25))
def test_all_that_is_diverted_is_the_same_either_way(seed: int) -> None:
    random, told = Random(seed), Told()
    told.change(0)
    at_once = 0
    for number in range(1, 40):
        keys = [each.key for each in told.balancer.services]
        command: Command
        if not keys or random.random() < 0.4:
            command = AddService(service(random))
            if command.config.key in keys:
                continue
        elif random.random() < 0.9:
            key = random.choice(keys)
            command = AddServer(key, server(random, key.vport))
            if told.balancer.services.get(key).has(*command.config.place):
                continue
        else:
            command = RemoveService(random.choice(keys))
        at_once += told.change(number, command)
        assert told.agrees()
        for each in told.balancer.services:
            assert all(one.way == WAYS[one.address] for one in each.servers)
    assert at_once > 5
    before = dict(told.balancer.strays._replying)
    told.balancer.strays.learn()
    assert {key: sorted(map(id, each)) for key, each in before.items()} == {
        key: sorted(map(id, each)) for key, each in told.balancer.strays._replying.items()
    }


def test_what_goes_or_is_reached_otherwise_makes_everything_be_looked_at() -> None:
    told = Told()
    config = ServerConfig(RIPS[1], 80, Nat())
    assert told.change(1, AddService(ServiceConfig(WEB, "rr")), AddServer(WEB, config))
    assert told.change(2, SetTimeouts(5), EditServer(WEB, ServerConfig(RIPS[1], 80, Nat(), 7)))
    assert not told.change(3, EditServer(WEB, ServerConfig(RIPS[1], 80, Dr())))
    assert not told.change(4, RemoveServer(WEB, RIPS[1], 80))
    assert not told.change(5, RemoveService(WEB))
    assert told.agrees()


def test_many_changes_are_not_followed_in_one_go() -> None:
    told = Told()
    servers = [ServerConfig(bytes((10, 0, 2, n)), 80, Nat()) for n in range(FEW)]
    assert not told.change(
        1, AddService(ServiceConfig(WEB, "rr")), *(AddServer(WEB, each) for each in servers)
    )
    assert told.agrees()


def test_what_came_alone_is_told_as_news_and_what_went_is_not() -> None:
    told = Told()
    told.change(1, AddService(ServiceConfig(WEB, "rr")))
    news = told.gathered.news()
    assert news is not None
    assert news.endpoints == {(VIPS[0], 6, 80)}
    told.change(2, AddServer(WEB, ServerConfig(RIPS[1], 80, Nat())))
    news = told.gathered.news()
    assert news is not None
    assert not news.endpoints
    assert news.servers == {(RIPS[1], 6, 80)}
    told.change(3, RemoveServer(WEB, RIPS[1], 80))
    assert told.gathered.news() is None


def test_what_comes_beside_something_that_goes_is_told_at_once() -> None:
    told = Told()
    told.change(
        1, AddService(ServiceConfig(WEB, "rr")), AddServer(WEB, ServerConfig(RIPS[1], 80, Nat()))
    )
    other = ServiceKey(6, VIPS[1], 81)
    changes = told.balancer.apply(
        [
            RemoveServer(WEB, RIPS[1], 80),
            AddService(ServiceConfig(other, "rr")),
            AddServer(other, ServerConfig(RIPS[2], 81, Nat())),
            AddServer(other, ServerConfig(RIPS[3], 81, Nat())),
            RemoveServer(other, RIPS[3], 81),
            AddService(ServiceConfig(ServiceKey(6, VIPS[2], 82), "rr")),
            RemoveService(ServiceKey(6, VIPS[2], 82)),
        ],
        0.0,
    )
    assert exhaust(told.following(2, changes)) is False
    assert told.settled == 2
    gathered = told.gathered.diverted
    assert gathered.endpoints == {(VIPS[0], 6, 80), (VIPS[1], 6, 81)}
    assert gathered.servers == {(RIPS[1], 6, 80), (RIPS[2], 6, 81)}


def test_a_service_that_comes_back_while_everything_is_looked_at_stays_diverted() -> None:
    step = 0
    is_over = False
    while not is_over:
        told = Told()
        told.change(1, AddService(ServiceConfig(WEB, "rr")))
        told.balancer.apply([RemoveService(WEB)], 0.0)
        looking = told.diversions.telling(2)
        is_over = len([*islice(looking, step)]) < step
        changes = told.balancer.apply([AddService(ServiceConfig(WEB, "rr"))], 0.0)
        assert exhaust(told.following(3, changes))
        for _ in looking:
            pass
        assert told.agrees(), step
        step += 1
    assert step > len(Diverted.__slots__)


@pytest.mark.parametrize("number", range(4))
def test_what_comes_is_diverted_though_everything_is_looked_at_half_way(number: int) -> None:
    told = Told()
    told.change(1, AddService(ServiceConfig(WEB, "rr")))
    servers = [AddServer(WEB, ServerConfig(each, 80, Nat())) for each in RIPS[:4]]
    following = told.following(3, told.balancer.apply(servers, 0.0))
    assert len([*islice(following, number)]) == number
    exhaust(settling(told.balancer, WAYS))
    for _ in told.diversions.telling(2):
        pass
    assert exhaust(following)
    assert told.agrees()
    assert told.settled == 3
