"""An explanation as plain values, ready for JSON: every field under its name in `model`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from forwarders.plan import Plan
from lvsd.explain.model import Cause


def as_data(value: Any) -> Any:
    """Return a value of `model`, or many, as dicts, lists and words.

    Bytes become hexadecimal digits, a step of a plan what it is called and says.
    """
    match value:
        case str() | int():  # most of them are
            return value
        case bytes():
            return value.hex()
        case Plan():
            return {
                "request": [str(step) for step in value.request],
                "reply": None if value.reply is None else [str(step) for step in value.reply],
            }
        case Cause():
            step = value.step and type(value.step).__name__
            return {"kind": value.kind, "text": value.text, "step": step}
        case tuple() | list():
            return [as_data(one) for one in value]
        case _ if is_dataclass(value):
            return {name: as_data(getattr(value, name)) for name in _names(value.__class__)}
        case _:
            return value


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's fields."""
    return tuple(field.name for field in fields(kind))
