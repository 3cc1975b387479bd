"""Virtual services and their real servers, as they are at run time.

What is wanted of them is a value (`lvsd.core.values`), theirs for as long as no other one is
wanted. Only `lvsd.core.apply` gives them another, and lets services and servers come and go. A
service's list of real servers is newest first, as the kernel's is, because that order decides ties.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forwarders.local import Local
from lvsd.core.evidence import Refusals
from lvsd.core.local_pool import Turn
from lvsd.core.nobody import Nobody
from lvsd.core.shares import Share
from lvsd.core.slow_start import PASSES, Easing
from lvsd.core.standing import Standing
from lvsd.core.stats import Meter
from lvsd.core.values import UNKNOWN_WAY
from lvsd.core.verdict import Reason
from lvsd.errors import ControlError, PluginError
from lvsd.packet.address import endpoint
from schedulers.base import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from forwarders.base import Forwarder
    from lvsd.core import states
    from lvsd.core.compiled import Compiled
    from lvsd.core.draining import Draining
    from lvsd.core.slow_start import Ramp
    from lvsd.core.values import Health, ServerConfig, ServiceConfig, Way
    from schedulers.base import Flow, Scheduler

FTP_PORT = 21
TCP = 6

_LET_GO_TOGETHER: Final = 64
"""Servers: one of which nothing is left takes some 5 us."""

_rank: Final[Callable[[RealServer], int]] = attrgetter("rank")

PathKey: TypeAlias = "tuple[states.Protocol, bytes, int | None, int | None, Forwarder]"
"""Protocol, VIP, vport and rport (None, both: the port stays) and the forwarder."""

_LOCAL = Local()


class Settled(NamedTuple):
    """All that `RealServer.settle` changes, and what its weight comes of."""

    config: ServerConfig
    drain: Draining | None
    health: Health
    ramp: Ramp | None
    weight: int
    last_weight: int
    upper: int
    lower: int
    overloaded: bool


class RealServer(Standing):
    """A real server of one service: what the scheduler sees, and what the packet path needs.

    ``config`` is what the operator wants of it, ``way`` what the network says of the way to it.
    ``mtu`` is how long packets may be, in bytes: what the way takes, or less, since an ICMP error
    said so. ``ramp`` says what it has of its weight as yet. ``rank`` is its place in the list,
    smaller the nearer to its head. ``paths`` holds what was compiled for its connections, one per
    virtual endpoint, or per virtual address where the port stays. ``templates`` counts persistence
    templates that point here, ``unanswered`` the clients' SYNs that were sent again although
    replies bypass the director, since a client was last seen to have an answer: nobody there seems
    to give any. ``refusals`` are those that we see, since then.
    """

    __slots__ = (
        "config",
        "meter",
        "mtu",
        "paths",
        "ramp",
        "rank",
        "refusals",
        "service",
        "templates",
        "unanswered",
        "way",
    )

    def __init__(self, config: ServerConfig, service: Service) -> None:
        weight = service.easing.weight(config.weight, None)
        super().__init__(config.address, config.port, weight, config.upper, config.lower)
        self.config = config
        self.service = service
        self.ramp: Ramp | None = None
        self.rank = 0
        self.way = UNKNOWN_WAY
        self.mtu = UNKNOWN_WAY.mtu
        self.templates = 0
        self.unanswered = 0
        self.refusals = Refusals()
        self.meter = Meter()
        self.paths: dict[PathKey, Compiled] = {}

    # --- what is wanted -----------------------------------------------------------------------

    @property
    def effective_weight(self) -> int:
        """The weight that the scheduler is to see: configured, drain, health, slow start."""
        if self.leaving:
            return 0
        return self.service.easing.weight(self.config.weight, self.ramp)

    def settle(self, config: ServerConfig) -> None:
        """Have this wanted from now on, and let the scheduler see it, once it is told.

        Living connections keep their forwarder.
        """
        self.config = config
        self.service.forget_bypasses()
        self.reweigh()
        self.set_thresholds(config.upper, config.lower)

    def reweigh(self) -> None:
        """Let the scheduler see the weight that there is now, once it is told."""
        self.set_weight(self.effective_weight)

    @property
    def settled(self) -> Settled:
        """What `settle` made of it, for `resettle`."""
        wanted = self.config, self.drain, self.health, self.ramp
        return Settled(
            *wanted, self.weight, self.last_weight, self.upper, self.lower, self.overloaded
        )

    def resettle(self, settled: Settled) -> None:
        """Be as it was: the same wish may settle otherwise now, as its connections decide."""
        self.service.forget_bypasses()
        self.set_health(settled.health)
        self.config, self.drain, self.ramp = settled.config, settled.drain, settled.ramp
        self.weight, self.last_weight, self.upper, self.lower, self.overloaded = settled[4:]

    def retime(self) -> None:
        """Let connections have the timeouts that there are now, each from its next packet on."""
        for path in self.paths.values():
            path.retime()

    # --- how packets get there ----------------------------------------------------------------

    @property
    def effective_forwarder(self) -> Forwarder:
        """How new connections are forwarded: as configured, or by `Local`.

        `Local` where the director is the server and replies would bypass it; NAT rewrites for
        itself as for others.
        """
        return self.as_forwarded(self.config.forwarder)

    def as_forwarded(self, forwarder: Forwarder) -> Forwarder:
        """Return how connections with a forwarder are forwarded now."""
        return _LOCAL if self.way.is_local and forwarder.bypasses else forwarder

    def set_way(self, way: Way) -> bool:
        """Note what is known of the way to the server, and let its paths know.

        A path whose forwarder fails at that stays as it was. Return whether anything but the MTU is
        another.
        """
        moved = way[1:] != self.way[1:]
        self.way = way
        self.service.forget_bypasses()
        self.mtu = way.mtu
        if moved:
            for path in self.paths.values():
                try:
                    path.compile()
                except BaseException as error:  # noqa: BLE001 - a plug-in's; the other paths go on
                    self.service.fault = error
        return moved


def server_name(server: Server) -> str:
    """Return a real server's endpoint as people write it."""
    return endpoint(server.address, server.port)


class Service:
    """A virtual service.

    ``config`` is what the operator wants of it, ``scheduler`` what was made for that. ``servers``
    are newest first. ``removed`` keeps removed servers that still have connections: added again,
    such a server comes back with its old counts, and its connections live on. ``share`` counts its
    entries in the connection table, ``turn`` which local address comes next. ``was_persistent``
    says that it is or was persistent: there may be connections to ports that clients chose.
    ``serial`` grows with each service that comes. ``fault`` is what a plug-in raised last. In the
    course of a change ``listener`` hears of servers' new counts, too. ``is_in_doubt`` while changes
    are taken back, or the list that adds it goes on: the scheduler may not have all servers yet.
    ``easing`` is how servers begin slowly, ``has_ramps`` says that some are about it.
    """

    __slots__ = (
        "_at",
        "_has_bypass",
        "_newest",
        "config",
        "easing",
        "fault",
        "has_ramps",
        "is_in_doubt",
        "key",
        "listener",
        "meter",
        "removed",
        "scheduler",
        "serial",
        "servers",
        "share",
        "turn",
        "was_persistent",
    )

    def __init__(self, config: ServiceConfig, scheduler: Scheduler) -> None:
        self.key = config.key
        self.config = config
        self.scheduler = scheduler
        self.servers: list[RealServer] = []
        self._at: dict[tuple[bytes, int], RealServer] = {}
        self.removed: dict[tuple[bytes, int], RealServer] = {}
        self.meter = Meter()
        self.share = Share()
        self.turn = Turn()
        self.was_persistent = bool(config.persistence_s)
        self.serial = 0
        self.fault: BaseException | None = None
        self.listener: Callable[[RealServer], None] | None = None
        self.is_in_doubt = False
        self.easing = Easing(scheduler.slow_start, config.slow_start_s)
        self.has_ramps = False
        self._newest = 0
        """The rank of the server that came last."""
        self._has_bypass: bool | None = None

    @property
    def label(self) -> str:
        """A word for logs."""
        return self.config.label

    def find(self, address: bytes, port: int) -> RealServer:
        """Return the real server at this endpoint. Raise ControlError if there is none."""
        server = self._at.get((address, port))
        if server is None:
            raise ControlError("No such destination")
        return server

    def has(self, address: bytes, port: int) -> bool:
        """Whether it has a real server at this endpoint."""
        return (address, port) in self._at

    @property
    def has_bypass(self) -> bool:
        """Whether replies of some real server bypass the director, as it is forwarded to now."""
        if self._has_bypass is None:
            self._has_bypass = any(each.effective_forwarder.bypasses for each in self.servers)
        return self._has_bypass

    def forget_bypasses(self) -> None:
        """Look at them anew: a real server, or the way there, is another."""
        self._has_bypass = None

    def enlist(self, server: RealServer) -> None:
        """Have a real server from now on, as the newest."""
        self._newest -= 1
        server.rank = self._newest
        self._put(0, server)

    def relist(self, server: RealServer) -> None:
        """Have a real server again, where it stood when it was delisted."""
        self._put(self._index(server), server)

    def _put(self, index: int, server: RealServer) -> None:
        self.servers.insert(index, server)
        self._at[server.config.place] = server
        self.reinstate(server)

    def delist(self, server: RealServer) -> None:
        """Have a real server no longer. Its connections count for nobody."""
        del self.servers[self._index(server)]
        del self._at[server.config.place]
        self.dismiss(server)

    def _index(self, server: RealServer) -> int:
        return bisect_left(self.servers, server.rank, key=_rank)

    def reinstate(self, server: RealServer) -> None:
        """Let connections to a real server of the list count for it and the service."""
        self.forget_bypasses()
        server.set_available(True)
        for path in server.paths.values():
            path.bind()

    def dismiss(self, server: RealServer) -> None:
        """Let a real server's connections count for nobody."""
        self.forget_bypasses()
        server.set_available(False)
        for path in server.paths.values():
            path.unbind()

    def dissolving(self) -> Iterator[None]:
        """Let go of all that this service, which was removed, has: it ends with its connections.

        Its servers know it, and the scheduler may know them: nothing else would end this circle.
        """
        self.scheduler = Nobody()
        yield
        self._at.clear()
        while self.servers:
            yield
            del self.servers[-_LET_GO_TOGETHER:]

    def released(self, server: RealServer) -> None:
        """Forget a removed server once nothing points at it any more."""
        if not (server.available or server.total or server.templates):
            if self.removed.get(server.config.place) is server:
                del self.removed[server.config.place]
            server.paths.clear()  # they know it, too: nothing else would end this circle

    def pick(self, flow: Flow, now: float) -> RealServer | Reason:
        """Ask the scheduler which real server takes a new connection; return why none does, if so.

        A scheduler that raises, or picks a server that is not among this service's, is at fault.
        """
        try:
            server = self.scheduler.pick(flow, now)
            if self.has_ramps and self.easing.by == "turns":
                server = self._in_turn(server, flow, now)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; it costs this connection
            self.fault = error
            return Reason.PLUGIN_FAULT
        if server is None:
            return Reason.NO_SERVER
        if isinstance(server, RealServer) and server.available and server.service is self:
            return server
        if self.is_in_doubt:
            return Reason.NO_SERVER
        name = server_name(server) if isinstance(server, Server) else repr(server)
        self.fault = PluginError(
            f"scheduler {self.scheduler.name!r} of service {self.config.name!r} picked {name}, "
            "which is none of the service's real servers"
        )
        return Reason.PLUGIN_FAULT

    def _in_turn(self, server: Server | None, flow: Flow, now: float) -> Server | None:
        """Return the next server in turn that takes it; those that begin slowly let many pass."""
        for _ in range(PASSES):
            ramp = server.ramp if isinstance(server, RealServer) else None
            if ramp is None or ramp.takes_turn():
                break
            server = self.scheduler.pick(flow, now)
        return server

    def reweighed(self, server: RealServer) -> None:
        """Tell the scheduler of a weight that time has changed."""
        try:
            self.scheduler.edit(server)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the other services go on
            self.fault = error

    def changed(self, server: RealServer) -> None:
        """Tell the scheduler of a server's new counts, unless the server was removed."""
        if server.available:
            try:
                self.scheduler.changed(server)
                if self.listener is not None:
                    self.listener(server)
            except BaseException as error:  # noqa: BLE001 - a plug-in's; it must not stop what goes on
                self.fault = error

    def tick(self, now: float) -> None:
        """Let the scheduler do its periodic work."""
        try:
            self.scheduler.tick(now)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the other services go on
            self.fault = error

    def retiming(self) -> Generator[None, None, None]:
        """Let all its connections have the timeouts that there are now, step by step."""
        for server in (*self.servers, *self.removed.values()):
            server.retime()
            yield
