"""Changes as plain values: what somebody asks for, and what came of it.

`lvsd.core.balancer.Balancer.apply` does a list of commands. What each of them does is what the
kernel does at the same request of ipvsadm's; a refusal has the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from lvsd.core.local_pool import Range
    from lvsd.core.settings import Settings
    from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey


@dataclass(frozen=True, slots=True)
class AddService:
    """Add a service without real servers; those that an earlier one left may come back to it."""

    config: ServiceConfig


@dataclass(frozen=True, slots=True)
class EditService:
    """Let the service of the same key be as wanted; the same scheduler goes on where it is."""

    config: ServiceConfig


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Remove a service and its real servers; connections outlive them."""

    key: ServiceKey


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove all services that there are by then."""


@dataclass(frozen=True, slots=True)
class AddServer:
    """Add a real server to a service, as the newest; one that left connections comes back."""

    service: ServiceKey
    config: ServerConfig


@dataclass(frozen=True, slots=True)
class EditServer:
    """Let the real server at the same endpoint be as wanted; connections keep their forwarder."""

    service: ServiceKey
    config: ServerConfig


@dataclass(frozen=True, slots=True)
class RemoveServer:
    """Remove a real server; its connections outlive it. ``address`` is packed."""

    service: ServiceKey
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Drain a real server: no new connections, and persistent clients leave (`draining`).

    What is left ends after ``deadline_s`` seconds (0: at once; None: by itself), counted from
    ``since`` on the director's clock (None: from the end of the list on). Of one that is drained
    already, the time begins anew. ``address`` is packed.
    """

    service: ServiceKey
    address: bytes
    port: int
    deadline_s: int | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Undrain:
    """Let a real server have its weight again, slowly if its service says so.

    One that is not drained stays as it is. ``address`` is packed.
    """

    service: ServiceKey
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class SetHealth:
    """Let a real server be what health checks make of it (`lvsd.core.values.Health`).

    One that was quiesced or removed comes back up slowly, if its service says so. ``address`` is
    packed.
    """

    service: ServiceKey
    address: bytes
    port: int
    health: Health


@dataclass(frozen=True, slots=True)
class SetTimeouts:
    """Change the timeouts of all services, in seconds; 0 leaves one as it is."""

    tcp_s: int = 0
    tcp_fin_s: int = 0
    udp_s: int = 0


@dataclass(frozen=True, slots=True)
class Zero:
    """Count a service and its real servers from zero, or all of them (None)."""

    service: ServiceKey | None = None


@dataclass(frozen=True, slots=True)
class SetSettings:
    """Let the director as a whole behave in another way from now on."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class KeepPorts:
    """Give no local port of these ranges from now on: they are the host's. Others are given."""

    kept: tuple[Range, ...]


Single: TypeAlias = (
    AddService
    | EditService
    | RemoveService
    | AddServer
    | EditServer
    | RemoveServer
    | Drain
    | Undrain
    | SetHealth
    | SetTimeouts
    | Zero
    | SetSettings
    | KeepPorts
)
"""A command that concerns what it names."""

Command: TypeAlias = Single | Clear


class ServiceChange(NamedTuple):
    """A service came (``before`` None), went (``after`` None), or is another."""

    service: ServiceKey
    before: ServiceConfig | None
    after: ServiceConfig | None

    @property
    def is_of_the_network(self) -> bool:
        """Whether other packets may have to be diverted now."""
        if self.before is None or self.after is None:
            return True
        return (self.before.local, self.before.persistence_s) != (
            self.after.local,
            self.after.persistence_s,
        )


class ServerChange(NamedTuple):
    """A real server came (``before`` None), went (``after`` None), or is another.

    ``address`` (packed) and ``port`` are its own, ``service`` is the key of its service.
    """

    service: ServiceKey
    address: bytes
    port: int
    before: ServerConfig | None
    after: ServerConfig | None

    @property
    def is_of_the_network(self) -> bool:
        """Whether other packets may have to be diverted now, or another way be looked up."""
        if self.before is None or self.after is None:
            return True
        return self.before.forwarder != self.after.forwarder


class DrainChange(NamedTuple):
    """A real server is drained, anew maybe, or no longer.

    ``address`` is packed, ``deadline_s`` in seconds from then on, None where there is none.
    """

    service: ServiceKey
    address: bytes
    port: int
    is_drained: bool
    deadline_s: int | None

    @property
    def is_of_the_network(self) -> bool:
        """No."""
        return False


class HealthChange(NamedTuple):
    """Health checks make something else of a real server. ``address`` is packed."""

    service: ServiceKey
    address: bytes
    port: int
    before: Health
    after: Health

    @property
    def is_of_the_network(self) -> bool:
        """No."""
        return False


class TimeoutsChange(NamedTuple):
    """The timeouts of all services, in seconds: TCP, TCP after a FIN, UDP."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def is_of_the_network(self) -> bool:
        """No."""
        return False


class Zeroed(NamedTuple):
    """A service and its real servers, or all (None), count from zero."""

    service: ServiceKey | None

    @property
    def is_of_the_network(self) -> bool:
        """No."""
        return False


class SettingsChange(NamedTuple):
    """The director as a whole behaves in another way."""

    before: Settings
    after: Settings

    @property
    def is_of_the_network(self) -> bool:
        """No."""
        return False


Change: TypeAlias = (
    ServiceChange
    | ServerChange
    | DrainChange
    | HealthChange
    | TimeoutsChange
    | Zeroed
    | SettingsChange
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a list of commands has changed, in their order; what stays as it was is left out.

    ``at`` is when, on the director's clock.
    """

    at: float
    all: tuple[Change, ...] = ()

    @property
    def concern_the_network(self) -> bool:
        """Whether services or real servers came, went or are reached in another way.

        Then nftables' sets, the addresses that replies come from and the ways are to be renewed.
        """
        return any(change.is_of_the_network for change in self.all)
