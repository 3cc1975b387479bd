"""Reloads of good and bad files, changes by lvsadm and packets, in any order, against a model.

After each the director has what the model has. A bad file and a refused change leave everything as
it was, and no reload ends a connection.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from lvsd.assembly import wanted_of
from lvsd.config import model
from lvsd.config.saving import checked_text
from lvsd.core.commands import (
    AddServer,
    AddService,
    Drain,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    SetHealth,
    SetTimeouts,
)
from lvsd.core.values import Health
from lvsd.documents import whole
from lvsd.errors import ControlError
from lvsd.notify import Notifier
from lvsd.supervisor.reload import Reloads
from tests.property.config.test_writing import without_names
from tests.property.core.states import KEYS, states
from tests.property.core.test_difference import all_of, had_by
from tests.property.examples import examples
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceKey
    from lvsd.core.wanted import Wanted
    from lvsd.supervisor.door import Maker
    from lvsd.supervisor.reload import Outcome

FILES = states(names=("", "web", "mail"))
DAMAGE = ("[[service]\n", 'name = "x"\n', "weight = -1\n", "[daemon]\nqueue = 70000\n", "\x00", "é")


def _one_of(*commands: Command) -> st.SearchStrategy[list[Command]]:
    return st.sampled_from([[each] for each in commands])


@st.composite
def lists(draw: st.DrawFn) -> list[Command]:
    """Draw commands of which any may be one that cannot be done."""
    found: list[Command] = []
    source = draw(FILES)
    for key, service in source.services.items():
        found += draw(_one_of(AddService(service.config), EditService(service.config)))
        for server in service.servers.values():
            found += draw(_one_of(AddServer(key, server), EditServer(key, server)))
            if draw(st.booleans()):
                found += draw(_one_of(RemoveServer(key, *server.place), Drain(key, *server.place)))
            health = draw(st.sampled_from(Health))
            found += draw(st.sampled_from(([], [SetHealth(key, *server.place, health)])))
    found += draw(st.lists(st.sampled_from([*map(RemoveService, KEYS), SetTimeouts(1, 2, 3)])))
    return draw(st.permutations(found))[: draw(st.integers(1, 4))]


def health_of(wanted: Wanted) -> dict[tuple[ServiceKey, tuple[bytes, int]], Health]:
    """Return the health of the servers that are not up."""
    return {
        (key, place): service.health(place)
        for key, service in wanted.services.items()
        for place in service.unwell
    }


class AnyReloads(RuleBasedStateMachine):
    """A daemon without a network: its file, its door, and its director."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.file = Path(self._directory.name) / "lvsd.toml"
        self.file.touch()
        self.world = World()
        self.wanted = wanted_of(model.Config())
        self.reloads = Reloads(
            *(self.file, model.Config(), Notifier({}), self.change),
            *(self.nothing, self.all_of_it, str),
        )

    def teardown(self) -> None:
        """Leave nothing behind."""
        self._directory.cleanup()

    async def nothing(self, config: model.Config) -> None:
        """Do what there is to do around the director."""

    async def all_of_it(self, config: model.Config) -> str:
        """Do so, and refuse nothing."""
        del config
        return ""

    async def change(self, make: Maker, _: str) -> None:
        """Stand for the door."""
        self.apply(await make(self.wanted))

    def apply(self, commands: Sequence[Command]) -> None:
        """Do all commands or none, as the door does."""
        self.wanted.would_change(commands)
        self.world.apply(*commands)
        self.wanted.do(commands)

    def reload(self) -> Outcome:
        """Reload; no connection may end by that."""
        before = self.world.balancer.flows.table.count
        with capture_logs():
            outcome = asyncio.run(self.reloads.reload("somebody"))
        assert self.world.balancer.flows.table.count == before
        return outcome

    @rule(wanted=FILES)
    def reload_a_good_file(self, wanted: Wanted) -> None:
        """Have what a file says."""
        self.file.write_text(checked_text(whole(wanted, model.Config())))
        before = health_of(self.wanted)
        outcome = self.reload()
        assert outcome.is_good
        stay = {(key, each) for key, every in wanted.services.items() for each in every.servers}
        assert health_of(self.wanted) == {each: before[each] for each in before if each in stay}
        assert without_names(self.wanted) == without_names(wanted)
        assert self.reload().changes == ()

    @rule(wanted=FILES, damage=st.sampled_from(DAMAGE), share=st.floats(0, 1))
    def reload_a_damaged_file(self, wanted: Wanted, damage: str, share: float) -> None:
        """Have all of a file, or nothing."""
        text = checked_text(whole(wanted, model.Config()))
        at = int(share * len(text))
        self.file.write_text(text[:at] + damage + text[at:])
        before = all_of(self.wanted)
        outcome = self.reload()
        assert outcome.is_good or all_of(self.wanted) == before
        assert outcome.is_good == (not outcome.problems)
        assert not outcome.refusal

    @rule(wanted=FILES, share=st.floats(0, 1))
    def reload_half_a_file(self, wanted: Wanted, share: float) -> None:
        """Have what somebody is still writing, where that is a good file by itself."""
        text = checked_text(whole(wanted, model.Config()))
        self.file.write_text(text[: int(share * len(text))])
        before = all_of(self.wanted)
        outcome = self.reload()
        assert outcome.is_good or all_of(self.wanted) == before

    @rule(commands=lists())
    def lvsadm(self, commands: list[Command]) -> None:
        """Change something, or try to."""
        before = all_of(self.wanted)
        try:
            self.apply(commands)
        except ControlError:
            assert all_of(self.wanted) == before

    @rule(client=st.integers(1, 9), vip=st.integers(1, 2), protocol=st.sampled_from(("tcp", "udp")))
    def packet(self, client: int, vip: int, protocol: str) -> None:
        """Have a client ask for something."""
        self.world.handle(self.world.from_client(client=client, vip=vip, protocol=protocol))
        self.world.sent()

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.wait(seconds)

    @invariant()
    def the_director_has_what_is_wanted(self) -> None:
        """Compare the two."""
        assert had_by(self.world.balancer) == all_of(self.wanted)
        assert health_of(self.wanted) == {
            (service.key, each.config.place): each.health
            for service in self.world.balancer.services
            for each in service.servers
            if each.health is not Health.UP
        }


TestAnyReloads = AnyReloads.TestCase
TestAnyReloads.settings = examples(60, stateful_step_count=10)
