"""Health checks: which real servers are asked, and what follows from what they say.

What is asked is worked out of two things: the configuration says how (`lvsd.config.checks`), what
is wanted says which servers there are, those that lvsadm has added included. What follows is a
list of commands like any other, through the door, for all servers of a service together; so the
engine, the listings and the log have one truth, and an engine that comes next is told it.

A server that nobody could ask, since this host is short of something or a check is broken, keeps
the judgement that it had.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from lvsd.config.fields import Endpoint
from lvsd.core.commands import SetHealth
from lvsd.core.values import Health
from lvsd.health.judge import Judge
from lvsd.health.rounds import Patient, Rounds
from lvsd.health.standing import Member, has_quorum, standings
from lvsd.packet.address import endpoint, text
from lvsd.running.errand import Errand
from lvsd.supervisor.check_plans import rules_of, target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from lvsd.config.checks import CheckConfig, ServiceChecks
    from lvsd.core.commands import Change, Command
    from lvsd.core.values import ServiceKey
    from lvsd.core.wanted import Wanted
    from lvsd.core.wanted_service import WantedService
    from lvsd.health.probing import Result
    from lvsd.health.standing import Place
    from lvsd.running.complaints import Complaints
    from lvsd.supervisor.door import Maker

BY: Final = "health checks"
CANNOT_TELL: Final = "cannot put the results of health checks into force"
CANNOT_ASK: Final = "health checks cannot be made: this host is short of something"
CHECK_FAILS: Final = "a health check fails by itself, and says nothing of the server"

log = structlog.get_logger("lvsd")


class Checked(NamedTuple):
    """A real server that is checked."""

    service: ServiceKey
    place: Place
    asked: CheckConfig
    patient: Patient


class Group:
    """The servers of one service: those that are checked, and whether they are enough."""

    __slots__ = ("has_quorum", "plan", "servers", "was_served")

    def __init__(self, plan: ServiceChecks) -> None:
        self.plan = plan
        self.servers: dict[Place, Checked] = {}
        self.has_quorum = True
        self.was_served = True
        """Some server was up when that was last told."""

    def is_up(self, place: Place) -> bool:
        """Whether a server is well; one that nobody checks is."""
        checked = self.servers.get(place)
        return checked is None or checked.patient.judge.is_up

    def members(self, service: WantedService) -> dict[Place, Member]:
        """Return what decides about each server of the service."""
        backups = self.plan.backups
        return {
            place: Member(config.weight, place in backups, self.is_up(place))
            for place, config in service.servers.items()
        }


class Checking:
    """Checks the servers of what is ``wanted``; ``change`` is the door's."""

    def __init__(
        self,
        wanted: Wanted,
        change: Callable[[Maker, str], Awaitable[object]],
        complaints: Complaints,
    ) -> None:
        self._wanted = wanted
        self._change = change
        self._complaints = complaints
        self._plans: Mapping[ServiceKey, ServiceChecks] = {}
        self._groups: dict[ServiceKey, Group] = {}
        self._of: dict[Patient, Checked] = {}
        self._rounds: Rounds | None = None
        self._dirty: set[ServiceKey] = set()
        self._telling = Errand(self._tell, complaints, CANNOT_TELL)

    # --- who is asked ---------------------------------------------------------------------------

    def start(self, plans: Mapping[ServiceKey, ServiceChecks]) -> None:
        """Begin to ask. To be called on the event loop."""
        self._rounds = Rounds(self._found, self._unknown)
        self.want(plans)

    def stop(self) -> None:
        """Ask nobody any more, and tell nothing. Harmless when nothing has begun."""
        self._telling.stop()
        if self._rounds is not None:
            self._rounds.close()
            self._rounds = None

    def want(self, plans: Mapping[ServiceKey, ServiceChecks]) -> None:
        """Check as a configuration says from now on; what is as before goes on."""
        before, self._plans = self._plans, plans
        self._follow({*before, *plans})

    def changed(self, changes: Iterable[Change]) -> None:
        """Follow changes of services and real servers, once they are done."""
        if self._plans or self._groups:
            services = {getattr(change, "service", None) for change in changes}
            self._follow({each for each in services if each is not None})

    def again(self) -> None:
        """Try once more to tell what could not be told."""
        self._telling.again()

    def _follow(self, services: Iterable[ServiceKey]) -> None:
        for key in services:
            if key in self._plans or key in self._groups:
                self._follow_service(key)

    def _follow_service(self, key: ServiceKey) -> None:
        plan, service = self._plans.get(key), self._wanted.services.get(key)
        if plan is None or service is None:
            group = self._groups.pop(key, None)
            for checked in group.servers.values() if group else ():
                self._forget(checked)
            self._mark(key)
            return
        group = self._groups.setdefault(key, Group(plan))
        group.plan = plan
        for place, checked in tuple(group.servers.items()):
            if place not in service.servers or plan.of(Endpoint(*place)) is None:
                self._forget(checked)
                del group.servers[place]
        for place in service.servers:
            asked = plan.of(Endpoint(*place))
            if asked is not None:
                self._check(group, key, place, asked)
        self._mark(key)

    def _check(self, group: Group, key: ServiceKey, place: Place, asked: CheckConfig) -> None:
        """Check a server in this way; what is known of it stays known."""
        before = group.servers.get(place)
        if before is not None and before.asked == asked:
            return
        if before is None:
            health = self._wanted.services[key].health(place)
            is_up = health in {Health.UP, Health.STANDBY}
            judge = Judge(asked.fall, asked.rise, time.monotonic(), is_up=is_up)
        else:
            self._forget(before)
            judge = before.patient.judge
            judge.change_rules(asked.fall, asked.rise)
        times = asked.interval_s, asked.fast_interval_s, asked.timeout_s
        patient = Patient(asked.check, target(asked, place), judge, *times)
        checked = group.servers[place] = self._of[patient] = Checked(key, place, asked, patient)
        if self._rounds is not None:
            self._rounds.add(checked.patient)

    def _forget(self, checked: Checked) -> None:
        del self._of[checked.patient]
        if self._rounds is not None:
            self._rounds.remove(checked.patient)

    # --- what they say --------------------------------------------------------------------------

    def _found(self, patient: Patient, result: Result) -> None:
        checked = self._of.get(patient)
        if checked is None:
            return
        judge = patient.judge
        if judge.take(is_good=result.is_good, now=result.at):
            self._say(checked, result)
            self._mark(checked.service)

    def _unknown(self, error: BaseException) -> None:
        is_ours = isinstance(error, OSError | MemoryError)
        self._complaints.fault(CANNOT_ASK if is_ours else CHECK_FAILS, error)

    def _say(self, checked: Checked, result: Result) -> None:
        facts = {
            "service": self._label(checked.service),
            "server": endpoint(*checked.place),
            "check": checked.asked.type,
            "why": result.said,
        }
        if result.is_good:
            log.info("a real server is up", **facts)
        else:
            log.warning("a real server is down", **facts)

    def _label(self, key: ServiceKey) -> str:
        service = self._wanted.services.get(key)
        return service.config.label if service is not None else text(key.vip)

    # --- what follows ---------------------------------------------------------------------------

    def _mark(self, key: ServiceKey) -> None:
        """Have it worked out what follows for a service."""
        self._dirty.add(key)
        if self._rounds is not None:
            self._telling.soon()

    async def _tell(self) -> None:
        services, self._dirty = self._dirty, set()

        async def commands(wanted: Wanted) -> Sequence[Command]:
            return [each for key in services for each in self._following(wanted, key)]

        try:
            await self._change(commands, BY)
        except BaseException:
            self._dirty |= services
            raise

    def _following(self, wanted: Wanted, key: ServiceKey) -> Iterator[Command]:
        """Yield what has to change for the servers of a service to be as they should."""
        service = wanted.services.get(key)
        if service is None:
            return
        group = self._groups.get(key)
        if group is None:
            found = dict.fromkeys(service.servers, Health.UP)
        else:
            members = group.members(service)
            rules = rules_of(group.plan)
            group.has_quorum = has_quorum(members, rules, had=group.has_quorum)
            found = standings(members, rules, quorum=group.has_quorum)
            self._say_served(key, group, members)
        for place, health in found.items():
            if service.health(place) is not health:
                yield SetHealth(key, *place, health)

    def _say_served(self, key: ServiceKey, group: Group, members: Mapping[Place, Member]) -> None:
        """Log that no server of a service is up any more, or that some are again."""
        is_served = not members or any(each.is_up for each in members.values())
        if is_served is group.was_served:
            return
        group.was_served = is_served
        if is_served:
            log.info("a service has real servers again", service=self._label(key))
        elif group.plan.all_down == "ignore":
            then = "all of them get connections, as all_down says"
            log.error("no real server of a service is up", service=self._label(key), then=then)
        else:
            then = "new connections are refused"
            log.error("no real server of a service is up", service=self._label(key), then=then)

    # --- what is told ---------------------------------------------------------------------------

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what is counted of checks, by group; nothing where there are none."""
        if not self._of or self._rounds is None:
            return {}
        down = sum(not each.patient.judge.is_up for each in self._of.values())
        asked, late = self._rounds.asked, self._rounds.late
        return {"checks": {"servers": len(self._of), "down": down, "asked": asked, "late": late}}

    def checked(self, services: Iterable[ServiceKey] | None = None) -> Iterator[Checked]:
        """Yield what is checked, of some services or of all."""
        for key in self._groups if services is None else services:
            if key in self._groups:
                yield from self._groups[key].servers.values()

    async def now(self, checked: Checked) -> Result:
        """Ask a server at once; that counts as a result. Raise UnknownError."""
        if self._rounds is None:
            raise RuntimeError("checks have not begun")
        return await self._rounds.now(checked.patient)
