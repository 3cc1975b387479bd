"""How the real servers of each service are checked, as a configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.assembly import service_config
from lvsd.config.checks import checks_of
from lvsd.errors import KernelError
from lvsd.health.base import Target
from lvsd.health.standing import Rules
from lvsd.packet.address import text

if TYPE_CHECKING:
    from lvsd.config import model
    from lvsd.config.checks import CheckConfig, ServiceChecks
    from lvsd.core.values import ServiceKey
    from lvsd.health.standing import Place


def plans(config: model.Config) -> dict[ServiceKey, ServiceChecks]:
    """Return the checks of each service that has any.

    Raise KernelError where what a check reads, such as a certificate, is another by now.
    """
    try:
        found = [(service_config(each).key, checks_of(each)) for each in config.services]
    except ValueError as error:
        raise KernelError("make a health check", str(error), "see `lvsd -t -c FILE`") from error
    return {key: checks for key, checks in found if checks is not None}


def rules_of(checks: ServiceChecks) -> Rules:
    """Return what follows for a service from the results."""
    return Rules(checks.on_failure, checks.quorum, checks.hysteresis, checks.all_down)


def target(asked: CheckConfig, place: Place) -> Target:
    """Return whom to ask about a server."""
    return Target(text(asked.address or place[0]), asked.port or place[1])
