"""What the supervisor and an engine say to each other, in the order in which it is said.

=========== =========================================== ==========================================
            supervisor                                  engine
=========== =========================================== ==========================================
start       `Begin`                                     `Opened`, or `Refused` and the end
            `Here`, `Ways`, `Leads`, `Commands`,
            `Settle` or `Start`                         `Applied`, `Divert`, `Settled`
            `Start`                                     `Started`
            `Ready`
at work     `Commands`                                  `Applied`
            `Here`, `Ways`: the network changed         `Divert`, `Settled`
            `Leads`                                     `Ask`
            `Question`, `Next` or `Enough`              `Answer`
            `LogLevel`
                                                        `Beat`, `Emptied`
end         `Farewell`                                  (its process ends)
=========== =========================================== ==========================================
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from forwarders import FORWARDERS
from lvsd.core import commands
from lvsd.core.drains import Emptied
from lvsd.core.local_pool import LocalPool
from lvsd.core.sequence_numbers import Origin
from lvsd.core.settings import Settings
from lvsd.core.timeouts import Timing
from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.errors import ControlError, KernelError, PluginError, PrivilegeError
from lvsd.io.leads import Lead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lvsd.core.commands import Command
    from lvsd.core.local_pool import Range

_Element = TypeVar("_Element")

TOGETHER: Final = 25
"""Commands, or ways, in one message: it is read in one go."""

TOGETHER_BESIDE: Final = 8
"""Commands in one while packets come, which wait for that."""


class Begin(NamedTuple):
    """Take this queue, and be ready for services.

    ``kept_ports`` are local ports that the host itself uses. ``started`` is when the daemon was, on
    the monotonic clock. ``beat_s`` is how often to give a beat, in seconds. ``state`` is the path
    of the file to go on with, and to keep; empty: none. ``log_level`` is as for `LogLevel`; empty:
    as the process has it.
    """

    queue: int
    queue_length: int
    settings: Settings
    origin: Origin
    kept_ports: tuple[Range, ...]
    started: float
    beat_s: float
    state: str = ""
    log_level: str = ""


class Opened(NamedTuple):
    """The queue and the sockets are there."""


class Refused(NamedTuple):
    """They are not: the kernel refuses. ``privilege``: for lack of rights."""

    operation: str
    reason: str
    remedy: str
    privilege: bool

    @property
    def error(self) -> KernelError:
        """The error that the engine met."""
        kind = PrivilegeError if self.privilege else KernelError
        return kind(self.operation, self.reason, self.remedy)


class Commands(NamedTuple):
    """A part of list ``number``: all of its commands are to be done, or none."""

    number: int
    commands: tuple[Command, ...]
    is_last: bool


class Applied(NamedTuple):
    """List ``number`` is done, or nothing of it, for this reason."""

    number: int
    refusal: str = ""
    by_plugin: bool = False

    def check(self) -> None:
        """Raise ControlError or PluginError where it was refused."""
        if self.refusal:
            raise (PluginError if self.by_plugin else ControlError)(self.refusal)


class Here(NamedTuple):
    """This host's own: interface index -> MTU in bytes, and its addresses, packed."""

    link_mtus: Mapping[int, int]
    addresses: frozenset[bytes]


class Ways(NamedTuple):
    """Real server's address, packed -> the way there; ``is_ahead``: of servers that will come."""

    ways: Mapping[bytes, Way]
    is_ahead: bool = False


class Leads(NamedTuple):
    """Real server's address, packed -> what leads there; None: nothing any more."""

    leads: Mapping[bytes, Lead | None]


class Ask(NamedTuple):
    """Real servers of direct routing that are in use, or wanted: see where they are."""

    addresses: tuple[bytes, ...]


class Settle(NamedTuple):
    """Work out what follows from all that was said before, and take no packets yet."""


class Start(NamedTuple):
    """Take packets, as soon as all that was said before is settled.

    The state of the engine before is read then: by now nobody writes to it.
    """


class Started(NamedTuple):
    """Packets are taken."""


class GoOn(NamedTuple):
    """What an lvsd before was told goes on, and nobody has wanted otherwise since: want it, too.

    Sent before `Started`, as often as it takes.
    """

    drains: tuple[commands.Drain, ...]


class Ready(NamedTuple):
    """All is up, this host's virtual addresses, too: say what is amiss from now on."""


class Divert(NamedTuple):
    """What else has to be diverted, of one field of `lvsd.io.ruleset.Diverted`, and what not."""

    field: str
    more: frozenset[object]
    less: frozenset[object]


class Settled(NamedTuple):
    """All that follows from changes is worked out, and what is to be diverted is told.

    That holds for the lists of commands up to ``number``. ``left`` are the packed addresses of real
    servers that were removed and have connections; None: nobody has looked.
    """

    number: int
    left: frozenset[bytes] | None = None


class LogLevel(NamedTuple):
    """Log what is as severe, or more: debug, info, warning or error."""

    level: str


class Question(NamedTuple):
    """A line of a client's; ``groups`` are what the supervisor counts."""

    number: int
    line: bytes
    groups: Mapping[str, Mapping[str, int | str]]


class Answer(NamedTuple):
    """A line that answers it; for each but the last few the engine waits for a `Next`."""

    number: int
    line: bytes
    is_last: bool


class Next(NamedTuple):
    """The line before was taken."""

    number: int


class Enough(NamedTuple):
    """Nobody waits for the rest of the answer."""

    number: int


class Beat(NamedTuple):
    """Packets get their verdicts; there are so many connections.

    ``unkept`` of them an engine that comes next may not find.
    """

    connections: int
    unkept: int = 0


class Farewell(NamedTuple):
    """Tell those that have to know, and end. Packets are no longer diverted.

    With ``keep`` connections are to go on with the next lvsd: nobody is told that they end whose
    state is kept.
    """

    keep: bool = False


TO_ENGINE: Final = (
    *(Begin, Commands, Here, Ways, Leads, Settle, Start, Ready, LogLevel),
    *(Question, Next, Enough, Farewell),
    *(Settings, Origin, LocalPool, Timing, ServerConfig, ServiceConfig, ServiceKey, Way, Lead),
    *FORWARDERS.values(),
    *(commands.AddService, commands.EditService, commands.RemoveService, commands.Clear),
    *(commands.AddServer, commands.EditServer, commands.RemoveServer),
    *(commands.Drain, commands.Undrain, commands.SetHealth, Health),
    *(commands.SetTimeouts, commands.Zero, commands.SetSettings, commands.KeepPorts),
)
"""The classes that an engine may be sent."""

TO_SUPERVISOR: Final = (
    *(Opened, Refused, Applied, Divert, Settled, Started, Answer, Ask, Beat),
    *(Emptied, GoOn, commands.Drain, ServiceKey),
)
"""The classes that it may send."""


def portions(elements: Iterable[_Element], most: int = TOGETHER) -> Iterator[tuple[_Element, ...]]:
    """Yield all elements in their order, so many at a time at the most."""
    left = iter(elements)
    while some := tuple(islice(left, most)):
        yield some


def parts(number: int, wanted: Iterable[Command], most: int = TOGETHER) -> Iterator[Commands]:
    """Yield a list of commands as messages, so many in one; one without commands, too."""
    left = portions(wanted, most)
    some = next(left, ())
    for after in left:
        yield Commands(number, some, is_last=False)
        some = after
    yield Commands(number, some, is_last=True)
