"""Schedulers and forwarders of third parties raise, or lie, in the middle of everything.

The histories are those of all ways at once; at any point the plug-ins change their mood. Whatever
they do, the counts are those of the living connections after each step, and nothing is left in the
end: no connection, no path's user, no local port, no removed server.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from lvsd.errors import PluginError
from schedulers.base import Server
from tests.property.core.test_ways import FORWARDERS, SERVERS, SERVICES, Ways
from tests.property.examples import examples
from tests.unit.core.world import FirstAdded

if TYPE_CHECKING:
    from forwarders.base import Ends, Forwarder
    from forwarders.plan import Plan
    from lvsd.core.service import RealServer, Service
    from lvsd.core.values import Health
    from schedulers.base import Flow, Scheduler

CALLS = ("start", "add", "remove", "edit", "changed", "tick", "pick", "plan")
LIES = ("gone", "another's", "unknown", "nonsense")


class MoodError(Exception):
    """What a plug-in raises."""


@dataclass
class Mood:
    """What plug-ins do: in which calls they raise, before or after their work, and what they pick.

    ``servers`` are all real servers that there ever were.
    """

    raises: frozenset[str] = frozenset()
    late: bool = False
    lie: str | None = None
    servers: list[RealServer] = field(default_factory=list)
    kinds: dict[type[Forwarder], type[Forwarder]] = field(default_factory=dict)

    def __deepcopy__(self, _: object) -> Self:
        """Return the mood itself: a fork of a scheduler has the same one."""
        return self

    def before(self, call: str) -> None:
        """Raise before the work is done, if it is to be."""
        if call in self.raises and not self.late:
            raise MoodError(call)

    def after(self, call: str) -> None:
        """Raise after the work is done, if it is to be."""
        if call in self.raises and self.late:
            raise MoodError(call)


class Moody(FirstAdded):
    """Does what its mood says."""

    def __init__(self, mood: Mood) -> None:
        super().__init__()
        self.mood = mood

    def _do(self, call: str, *arguments: Any) -> Any:
        self.mood.before(call)
        result = getattr(FirstAdded, call)(self, *arguments)
        self.mood.after(call)
        return result

    def start(self, servers: Any) -> None:
        """Take over."""
        self._do("start", servers)

    def add(self, server: Server) -> None:
        """Take in a server."""
        self._do("add", server)

    def remove(self, server: Server) -> None:
        """Let go of a server."""
        self._do("remove", server)

    def edit(self, server: Server) -> None:
        """Notice new weights."""
        self._do("edit", server)

    def changed(self, server: Server) -> None:
        """Notice new counts."""
        self._do("changed", server)

    def tick(self, now: float) -> None:
        """Do periodic work."""
        self._do("tick", now)

    def pick(self, flow: Flow, now: float) -> Any:
        """Return a server, or what else its mood says."""
        picked = self._do("pick", flow, now)
        mine = set(self.servers)
        match self.mood.lie:
            case "gone":
                return next((each for each in self.mood.servers if not each.available), picked)
            case "another's":
                return next((each for each in self.mood.servers if each not in mine), picked)
            case "unknown":
                return Server(flow.destination, 80)
            case "nonsense":
                return "10.0.0.1:80"
        return picked


def _moody(forwarder: Forwarder, mood: Mood) -> Forwarder:
    """Return a forwarder of the same kind and options that has moods."""
    kind = type(forwarder)

    def plan(self: Forwarder, ends: Ends) -> Plan:
        mood.before("plan")
        steps = kind.plan(self, ends)
        mood.after("plan")
        return steps

    if kind not in mood.kinds:
        mood.kinds[kind] = type(f"Moody{kind.__name__}", (kind,), {"plan": plan})
    options: dict[str, Any] = {each.name: getattr(forwarder, each.name) for each in fields(kind)}
    return mood.kinds[kind](**options)


class FailingWays(Ways):
    """The same services and ways, with plug-ins that have moods."""

    def __init__(self) -> None:
        self.mood = Mood()
        self.takeovers = 0
        super().__init__()

    def _scheduler(self) -> Scheduler:
        return Moody(self.mood)

    def _add_server(self, service: Service, number: int, forwarder: Forwarder) -> None:
        """Add a server; where the scheduler fails at it, it is not there."""
        moody = _moody(forwarder, self.mood)
        with suppress(PluginError):
            self.world.add_server(service, number, 80, forwarder=moody)
        known = (*service.servers, *service.removed.values())
        self.mood.servers += [each for each in known if each not in self.mood.servers]

    def _edit_server(self, server: RealServer, **options: Any) -> None:
        """Edit a server: all of it, or nothing where the scheduler fails."""
        before = server.settled
        try:
            self.world.edit_server(server, **options)
        except PluginError:
            assert server.settled == before
        else:
            assert server.config == replace(before.config, **options)

    def _drain(self, server: RealServer, deadline_s: int | None) -> None:
        """Drain a server, or not where the scheduler fails at it."""
        before = server.drain, server.weight
        try:
            super()._drain(server, deadline_s)
        except PluginError:
            assert (server.drain, server.weight) == before

    def _undrain(self, server: RealServer) -> None:
        """Drain a server no longer, unless the scheduler fails at it."""
        before = server.drain, server.weight
        try:
            super()._undrain(server)
        except PluginError:
            assert (server.drain, server.weight) == before

    def _set_health(self, server: RealServer, health: Health) -> None:
        """Let a server be up or not, unless the scheduler fails at it."""
        before = server.health, server.is_serving, server.weight
        try:
            super()._set_health(server, health)
        except PluginError:
            assert (server.health, server.is_serving, server.weight) == before

    # --- what happens besides ------------------------------------------------------------

    @rule(
        raises=st.frozensets(st.sampled_from(CALLS)),
        late=st.booleans(),
        lie=st.none() | st.sampled_from(LIES),
    )
    def the_plug_ins_change_their_mood(
        self, raises: frozenset[str], lie: str | None, *, late: bool
    ) -> None:
        """Let them fail from now on, in other calls, or not at all."""
        self.mood.raises, self.mood.late, self.mood.lie = raises, late, lie

    @rule(name=SERVICES, number=SERVERS, forwarder=FORWARDERS, weight=st.integers(0, 2))
    def a_server_is_edited(self, name: str, number: int, forwarder: Forwarder, weight: int) -> None:
        """Edit a server."""
        server = self._server(name, number)
        if server is not None:
            self._edit_server(server, forwarder=_moody(forwarder, self.mood), weight=weight)

    @rule(name=SERVICES)
    def another_scheduler_takes_over(self, name: str) -> None:
        """Set another scheduler; the present one stays where that fails."""
        service, wanted = self.services[name], Moody(self.mood)
        present = service.scheduler
        self.takeovers += 1
        self.world.given[wanted.name] = wanted
        try:
            self.world.edit(service, flags=frozenset({str(self.takeovers)}))
        except PluginError:
            assert service.scheduler is present
        else:
            assert service.scheduler is wanted

    # --- what must hold ------------------------------------------------------------------

    @invariant()
    def only_available_servers_get_new_connections(self) -> None:
        """Look for a server that the operator removed, or never added, among those of services."""
        for service in self.services.values():
            assert all(each.available and each.service is service for each in service.servers)
            assert not any(each.available for each in service.removed.values())

    def teardown(self) -> None:
        """Let all timers run out: nothing must be left, of any server that there ever was."""
        super().teardown()
        assert list(self.world.balancer.services.removed()) == []
        for server in self.mood.servers:
            assert (server.active, server.total, server.templates) == (0, 0, 0)
            assert not any(path.users for path in server.paths.values())


class FailingWays6(FailingWays):
    """The same over IPv6."""

    version = 6


FailingWays.TestCase.settings = FailingWays6.TestCase.settings = examples(
    150, stateful_step_count=40
)
TestPluginsThatFailOverIpv4 = FailingWays.TestCase
TestPluginsThatFailOverIpv6 = FailingWays6.TestCase
