"""What each server of a service is to be, now that it is known which of them are well.

==========  ==================  =================================  ===========================
the quorum  sorry servers       the others that are up             servers that are down
==========  ==================  =================================  ===========================
is there    STANDBY             UP                                 as ``on_failure`` says
is lost     UP, if one is up    STANDBY, if a sorry server is up;  as ``on_failure`` says
                                else UP
nobody up                                                          UP if ``all_down = ignore``
==========  ==================  =================================  ===========================

The quorum is a weight: it is there while the servers that are up, sorry servers aside, weigh
``quorum`` together, and once lost it is back at ``quorum + hysteresis`` (keepalived's words and
rule). With a quorum of 1 a sorry server stands in when nobody else is up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from lvsd.core.values import Health

if TYPE_CHECKING:
    from collections.abc import Mapping

OnFailure: TypeAlias = Literal["quiesce", "remove"]
AllDown: TypeAlias = Literal["refuse", "ignore"]

_FAILED: Final[dict[OnFailure, Health]] = {
    "quiesce": Health.QUIESCED,
    "remove": Health.REMOVED,
}


class Rules(NamedTuple):
    """What the operator wants of a service whose servers are checked."""

    on_failure: OnFailure = "quiesce"
    quorum: int = 1
    hysteresis: int = 0
    all_down: AllDown = "refuse"


class Member(NamedTuple):
    """A server: its configured weight, whether it is a sorry server, and whether it is well."""

    weight: int
    is_backup: bool
    is_up: bool


Place: TypeAlias = tuple[bytes, int]
"""A packed address and a port."""


def has_quorum(members: Mapping[Place, Member], rules: Rules, *, had: bool) -> bool:
    """Whether the quorum is there now; ``had``: it was."""
    weight = sum(each.weight for each in members.values() if each.is_up and not each.is_backup)
    return weight >= (rules.quorum if had else rules.quorum + rules.hysteresis)


def standings(
    members: Mapping[Place, Member], rules: Rules, *, quorum: bool
) -> dict[Place, Health]:
    """Return what each server is to be; ``quorum`` is whether it is there."""
    failed = _FAILED[rules.on_failure]
    if rules.all_down == "ignore" and not any(each.is_up for each in members.values()):
        return {
            place: Health.STANDBY if each.is_backup else Health.UP
            for place, each in members.items()
        }
    sorry = not quorum and any(each.is_up for each in members.values() if each.is_backup)
    return {
        place: failed
        if not each.is_up
        else Health.UP
        if each.is_backup is sorry
        else Health.STANDBY
        for place, each in members.items()
    }
