"""What a configuration says of checks, as whoever runs them wants it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from lvsd.config.check_tables import Said, ServerCheck
from lvsd.config.options import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.config import model
    from lvsd.config.fields import Endpoint
    from lvsd.health.base import Check

NONE = "none"
"""The type of a server's check that is none."""


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """How one server is checked; ``address`` (packed) and ``port`` None: the server's own."""

    check: Check
    type: str
    address: bytes | None
    port: int | None
    interval_s: float
    timeout_s: float
    fast_interval_s: float
    fall: int
    rise: int


@dataclass(frozen=True, slots=True)
class ServiceChecks:
    """How a service's servers are checked.

    ``servers`` has each configured one, None for one that is not checked; ``usual`` is for a server
    that is added later.
    """

    usual: CheckConfig
    servers: Mapping[Endpoint, CheckConfig | None]
    backups: frozenset[Endpoint]
    on_failure: Literal["quiesce", "remove"]
    quorum: int
    hysteresis: int
    all_down: Literal["refuse", "ignore"]

    def of(self, server: Endpoint) -> CheckConfig | None:
        """Return how a server is checked, configured or added later."""
        return self.servers.get(server, self.usual)


def checks_of(service: model.Service) -> ServiceChecks | None:
    """Return how a service of a good configuration is checked, None if it is not.

    Equal values share one check. Raise ValueError where what a check reads has changed meanwhile.
    """
    if service.check is None:
        return None
    made: dict[Any, Check] = {}
    said = service.check
    return ServiceChecks(
        usual=_config(said, made),
        servers={
            each.address: None
            if each.check and each.check.common.type == NONE
            else _config(merged(said, each.check), made)
            for each in service.servers
        },
        backups=frozenset(each.address for each in service.servers if each.backup),
        on_failure=said.common.on_failure,
        quorum=said.common.quorum,
        hysteresis=said.common.hysteresis,
        all_down=said.common.all_down,
    )


def merged(usual: Said, server: Said | None) -> Said:
    """Return what holds for a server: its own keys, then the service's.

    With another type the check's own keys are only the server's.
    """
    if server is None:
        return usual
    words = [field.name for field in fields(ServerCheck)]
    said = {word: getattr(server.common, word) for word in words}
    common = {
        word: getattr(usual.common, word) if value is None else value
        for word, value in said.items()
    }
    is_same = common["type"] == usual.common.type
    own = {**usual.own, **server.own} if is_same else server.own
    return Said(ServerCheck(**common), own)


def _config(said: Said, made: dict[Any, Check]) -> CheckConfig:
    from lvsd.health import registry  # noqa: PLC0415 - most configurations have no check

    common = said.common
    of_type = registry.load(common.type)
    values = {
        option.word: value_of(option, said.own[option.word])
        if option.word in said.own
        else option.default
        for option in of_type.options
    }
    same = (common.type, *values.values())
    if same not in made:
        made[same] = of_type(values)
    interval_s = common.interval_s or 2.0
    return CheckConfig(
        check=made[same],
        type=common.type,
        address=common.address,
        port=common.port,
        interval_s=interval_s,
        timeout_s=common.timeout_s or 1.0,
        fast_interval_s=common.fast_interval_s or interval_s,
        fall=common.fall or 3,
        rise=common.rise or 2,
    )
