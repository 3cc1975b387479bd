"""``[service.check]`` and ``[service.server.check]``: the keys that all checks have.

What a check has of its own is kept as it stands in the file: `check_rules` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lvsd.config import fields
from lvsd.config.faults import kind, shown
from lvsd.config.fields import choice, whole
from lvsd.config.shape import Table, TableOf, fields_of, key
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvsd.config.faults import Key
    from lvsd.config.shape import Reading

_MOST = 0xFFFFFFFF


def _seconds(low: float, high: float) -> Callable[[object], float]:
    expected = f"a number of seconds from {low:g} to {high:g}"

    def read(value: object) -> float:
        if type(value) not in {int, float}:
            raise ValueError(f"{kind(value)}, expected {expected}")
        if not low <= value <= high:  # type: ignore[operator]  # it is a number
            raise ValueError(f"{shown(value)} is out of range, expected {expected}")
        return float(value)  # type: ignore[arg-type]  # it is a number

    return read


def _type(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{kind(value)}, expected the name of a check")  # noqa: TRY004 - its only error
    return value


_interval = _seconds(0.1, 3600)
_times = whole(1, 100, "a whole number of results from 1 to 100")
_weight = whole(0, _MOST, "a total weight, a whole number from 0 to 4294967295")


@dataclass(frozen=True, slots=True)
class ServerCheck(Table):
    """``[service.server.check]``: None means the service's."""

    type: str | None = key(_type, None)
    interval_s: float | None = key(_interval, None)
    timeout_s: float | None = key(_seconds(0.05, 60), None)
    fast_interval_s: float | None = key(_interval, None)
    fall: int | None = key(_times, None)
    rise: int | None = key(_times, None)
    address: bytes | None = key(fields.address, None)
    port: int | None = key(whole(1, 65535, "a port, a whole number from 1 to 65535"), None)


@dataclass(frozen=True, slots=True)
class ServiceCheck(ServerCheck):
    """``[service.check]``: and what only a whole service has."""

    on_failure: Literal["quiesce", "remove"] = key(choice("quiesce", "remove"), "quiesce")
    quorum: int = key(_weight, 1)
    hysteresis: int = key(_weight, 0)
    all_down: Literal["refuse", "ignore"] = key(choice("refuse", "ignore"), "refuse")


class Said(NamedTuple):
    """A table of a check: the common keys, and the check's own as they stand in the file."""

    common: Any
    own: Mapping[str, Any]


def document(said: Said) -> dict[str, Any]:
    """Return the table as a file has it, without what has its default."""
    common = {
        word: getattr(said.common, word)
        for word, field in fields_of(type(said.common)).items()
        if getattr(said.common, word) != field.default
    }
    if (address := common.get("address")) is not None:
        common["address"] = text(address)
    return common | dict(said.own)


class CheckOf(TableOf):
    """Reads a table of a check."""

    def read(self, reading: Reading[Any], value: Any, at: Key) -> Any:
        """Return what it says, a `Said`."""
        if not isinstance(value, dict):
            return super().read(reading, value, at)
        known = fields_of(self.table)
        common = {word: each for word, each in value.items() if word in known}
        own = {word: each for word, each in value.items() if word not in known}
        return Said(super().read(reading, common, at), own)
