"""The whole core: what is wanted, the connections that there are, and who decides about packets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lvsd.core.apply import Steps
from lvsd.core.director import Director
from lvsd.core.flows import Flows
from lvsd.core.forwarding import Forwarding
from lvsd.core.listing import rows
from lvsd.core.network import Network
from lvsd.core.outbox import Outbox
from lvsd.core.related import Related
from lvsd.core.sequence_numbers import NEW
from lvsd.core.service_table import ServiceTable
from lvsd.core.settings import Settings
from lvsd.core.strays import Strays
from lvsd.core.tally import Tally
from lvsd.core.transitions import Transitions
from lvsd.core.upkeep import Upkeep
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.core.commands import Changes, Command
    from lvsd.core.listing import Row
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.succession import SchedulerFactory


class Balancer:
    """All parts of the core, each made once and handed to those that need it.

    ``make_scheduler`` makes the schedulers of services. ``now`` is in seconds, on any clock that
    does not go back; it is that of the last `tick`. ``origin`` is where FULLNAT's numbers and ports
    begin. What there is to send waits in the ``outbox``; the caller drains it after each packet or
    some.
    """

    def __init__(
        self,
        make_scheduler: SchedulerFactory,
        settings: Settings | None = None,
        *,
        now: float = 0.0,
        origin: Origin = NEW,
    ) -> None:
        self.settings = settings or Settings()
        self.now = now
        self.services = ServiceTable()
        self.network = Network()
        self.outbox = Outbox()
        self.tally = Tally()
        self.flows = Flows(self.services, self.settings, self.outbox.departures, origin, now)
        table = self.flows.table
        self.forwarding = Forwarding(table.by_key, self.network, self.outbox, self.tally)
        self.strays = Strays(self.services, table, self.network, self.outbox, self.tally, now)
        self.related = Related(
            self.flows, self.network, self.forwarding, self.strays, self.outbox, self.tally
        )
        self.director = Director(
            self.services,
            self.flows,
            self.settings,
            self.network,
            self.forwarding,
            self.related,
            self.strays,
            self.tally,
        )
        self.handle = self.director.handle
        self.transitions = Transitions(self.flows)
        self._make_steps = partial(
            Steps,
            self.services,
            table,
            self.flows.timeouts,
            self.flows.admission,
            self.transitions,
            self.settings,
            self.flows.local_ports,
            make_scheduler,
        )
        self._upkeep = Upkeep(self.flows, self.services, self.settings, self.transitions, now)

    def tick(self, now: float) -> bool:
        """Do what is due by ``now``; to be called about once a second.

        Return True when there is more to do than can be at once: call again, after the packets
        that wait.
        """
        self.now = now
        return self._upkeep.tick(now)

    def apply(self, commands: Iterable[Command], now: float) -> Changes:
        """Do all commands in their order, and tell what changed; or do none.

        Raise ControlError or PluginError for the first that cannot be done. Where the changes
        `concern the network <Changes.concern_the_network>`, the caller renews what follows:
        `Strays.learn`, the ways to real servers, and what is diverted.
        """
        steps = self.changing()
        for command in commands:
            exhaust(steps.doing(command))
        changes: Changes = exhaust(steps.finishing(now))
        exhaust(steps.dismantling())
        return changes

    def changing(self) -> Steps:
        """Begin with a list of commands that are done one at a time, all or none like `apply`'s.

        One list at a time.
        """
        return self._make_steps()

    # --- the operator's questions -----------------------------------------------------------

    def connections(self) -> Iterator[Row]:
        """Yield a row per connection and template; packets may be handled meanwhile."""
        return rows(self.flows.table)

    def timeouts(self) -> tuple[int, int, int]:
        """Return the timeouts that ``--set`` changes, in seconds: TCP, TCP after a FIN, UDP."""
        return self.flows.timeouts.get()

    def counters(self) -> dict[str, int]:
        """Return how many connections, templates and packets there are or were."""
        table = self.flows.table
        return {
            "connections": table.count,
            "templates": table.template_count,
            "passed": self.tally.passed,
            "dropped": self.tally.drops.total(),
        }

    def dropped(self) -> dict[str, int]:
        """Return the number of packets dropped, for every reason there is."""
        return self.tally.dropped()
