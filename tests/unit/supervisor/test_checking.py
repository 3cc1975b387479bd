"""Which real servers are checked, and what the supervisor makes of what they say."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from forwarders import Nat
from lvsd.assembly import wanted_of
from lvsd.config import toml
from lvsd.config.load import validate
from lvsd.core.commands import AddServer, RemoveServer, ServerChange, SetHealth
from lvsd.core.values import Health, ServerConfig
from lvsd.health.base import UnhealthyError
from lvsd.health.checks.tcp import Tcp
from lvsd.lab.wait import PATIENCE
from lvsd.packet.address import pack
from lvsd.running.complaints import Complaints
from lvsd.supervisor.check_plans import plans
from lvsd.supervisor.checking import BY, Checking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lvsd.config import model
    from lvsd.core.wanted import Wanted
    from lvsd.health.base import Target
    from lvsd.supervisor.door import Maker

CONFIG = """
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
[service.check]
type = "tcp"
interval_s = 0.1
timeout_s = 0.1
fall = 1
rise = 1
{more}
[[service.server]]
address = "10.0.0.1:80"
[[service.server]]
address = "10.0.0.2:80"
{last}
"""


async def comes(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail if it never is."""
    for _ in range(int(6000 * PATIENCE)):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it does not come")


class Farm:
    """Servers that are down if their address is in ``down``, and what is wanted of them."""

    def __init__(self, more: str = "", last: str = "") -> None:
        self.down: set[str] = set()
        self.config = self.read(more, last)
        self.wanted: Wanted = wanted_of(self.config)
        (self.key,) = self.wanted.services
        self.lists: list[list[Any]] = []
        self.refusal: Exception | None = None
        self.checking = Checking(self.wanted, self.change, Complaints(time.monotonic))

    @staticmethod
    def read(more: str = "", last: str = "") -> model.Config:
        """Return a configuration with more keys of the check, and of the last server."""
        config, faults = validate(toml.loads(CONFIG.format(more=more, last=last)))
        assert faults == []
        assert config is not None
        return config

    async def change(self, commands: Maker, by: str) -> object:
        """Do as the door does."""
        assert by == BY
        made = list(await commands(self.wanted))
        if self.refusal is not None and made:
            refusal, self.refusal = self.refusal, None
            raise refusal
        if made:
            self.lists.append(made)
        return self.wanted.do(made)

    def healths(self) -> list[Health]:
        """Return how each server is."""
        service = self.wanted.services[self.key]
        return [service.health(place) for place in service.servers]

    async def come_to(self, *healths: Health) -> None:
        """Wait until servers are so."""
        await comes(lambda: self.healths() == [*healths])

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Check while a scenario goes on."""

        async def around() -> None:
            self.checking.start(plans(self.config))
            try:
                await scenario()
            finally:
                self.checking.stop()

        asyncio.run(around())


@pytest.fixture(autouse=True)
def _probes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Have no server be asked in fact."""

    async def probe(_: Tcp, target: Target) -> str:
        farm: Farm | None = getattr(request.node, "farm", None)
        if farm is not None and target.address in farm.down:
            raise UnhealthyError("it is told to be down")
        return "well"

    monkeypatch.setattr(Tcp, "probe", probe)


def farm(request: pytest.FixtureRequest, more: str = "", last: str = "") -> Farm:
    request.node.farm = made = Farm(more, last)
    return made


UP, STANDBY, QUIESCED, REMOVED = Health.UP, Health.STANDBY, Health.QUIESCED, Health.REMOVED


def test_a_server_goes_and_comes_back_and_the_log_says_why(request: pytest.FixtureRequest) -> None:
    of = farm(request)

    async def scenario() -> None:
        of.down.add("10.0.0.2")
        await of.come_to(UP, QUIESCED)
        of.down.clear()
        await of.come_to(UP, UP)

    with capture_logs() as logs:
        of.run(scenario)
    assert [len(each) for each in of.lists] == [1, 1]
    told = [(each["event"], each["server"], each["why"]) for each in logs if "why" in each]
    assert told == [
        ("a real server is down", "10.0.0.2:80", "it is told to be down"),
        ("a real server is up", "10.0.0.2:80", "well"),
    ]


def test_what_follows_is_told_again_where_it_could_not_be(request: pytest.FixtureRequest) -> None:
    of = farm(request, 'on_failure = "remove"')

    async def scenario() -> None:
        of.refusal = OSError("the engine is being replaced")
        of.down.add("10.0.0.1")
        await comes(lambda: of.refusal is None)
        assert of.healths() == [UP, UP]
        await asyncio.sleep(0.01)
        of.checking.again()
        await of.come_to(REMOVED, UP)

    of.run(scenario)


def test_a_server_that_comes_later_is_checked_and_one_that_goes_no_longer(
    request: pytest.FixtureRequest,
) -> None:
    of = farm(request)
    place = pack("10.0.0.3"), 80
    config = ServerConfig(*place, Nat())

    async def scenario() -> None:
        of.down.add("10.0.0.3")
        of.wanted.do([AddServer(of.key, config)])
        of.checking.changed([ServerChange(of.key, *place, None, config)])
        await of.come_to(UP, UP, QUIESCED)
        of.wanted.do([RemoveServer(of.key, *place)])
        of.checking.changed([ServerChange(of.key, *place, config, None)])
        assert len(list(of.checking.checked())) == 2
        assert of.checking.counters()["checks"]["down"] == 0

    of.run(scenario)


def test_a_configuration_without_the_check_lets_all_servers_serve(
    request: pytest.FixtureRequest,
) -> None:
    of = farm(request)

    async def scenario() -> None:
        of.down |= {"10.0.0.1", "10.0.0.2"}
        await of.come_to(QUIESCED, QUIESCED)
        of.checking.want({})
        await of.come_to(UP, UP)
        assert of.checking.counters() == {}

    of.run(scenario)


def test_another_configuration_keeps_what_is_known(request: pytest.FixtureRequest) -> None:
    of = farm(request)

    async def scenario() -> None:
        of.down.add("10.0.0.1")
        await of.come_to(QUIESCED, UP)
        of.checking.want(plans(of.read('on_failure = "remove"\nfast_interval_s = 0.2')))
        await of.come_to(REMOVED, UP)
        assert [each.patient.judge.is_up for each in of.checking.checked()] == [False, True]

    of.run(scenario)


def test_a_sorry_server_stands_by_from_the_beginning(request: pytest.FixtureRequest) -> None:
    of = farm(request, last="backup = true")

    async def scenario() -> None:
        await of.come_to(UP, STANDBY)
        of.down.add("10.0.0.1")
        await of.come_to(QUIESCED, UP)

    of.run(scenario)


def test_one_that_was_down_for_the_lvsd_before_begins_down(
    request: pytest.FixtureRequest,
) -> None:
    of = farm(request)
    of.wanted.do([SetHealth(of.key, pack("10.0.0.1"), 80, QUIESCED)])
    of.down.add("10.0.0.1")

    async def scenario() -> None:
        assert [each.patient.judge.is_up for each in of.checking.checked()] == [False, True]
        await asyncio.sleep(0.05)
        assert of.healths() == [QUIESCED, UP]

    of.run(scenario)
