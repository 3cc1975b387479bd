"""Reads what a client sent, key by key; errors name the key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NoReturn

from lvsd.control.protocol import PROTOCOL_NAMES
from lvsd.core.values import ServiceKey
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Collection, Container

NUMBERS: Final = {name: number for number, name in PROTOCOL_NAMES.items()}
SELECTABLE: Final = ("tcp", "udp", "sctp")
SELECTOR: Final = ("protocol", "address", "port", "fwmark", "family")
"""The keys of `lvsd.control.protocol.ServiceSelector`."""

MAX_SHOWN: Final = 60
"""How many characters of a request an error repeats."""


class Reader:
    """An object in a request; ``at`` is its place there, such as ``commands[0].service.``.

    All methods raise ValueError with a text for whoever wrote the request.
    """

    def __init__(self, given: dict[str, object], at: str) -> None:
        self._given = given
        self.at = at

    def want_only(self, known: Collection[str]) -> None:
        """Refuse unknown keys."""
        for word in self._given:
            if word not in known:
                there = f"; there are: {', '.join(known)}" if known else ""
                raise ValueError(f"{self.at}{word[:MAX_SHOWN]}: unknown{there}")

    def has(self, word: str) -> bool:
        """Whether a key is given."""
        return word in self._given

    def number(self, word: str, allowed: Container[int], default: int) -> int:
        """Return a whole number."""
        value = self._given.get(word, default)
        if type(value) is not int or (word in self._given and value not in allowed):
            self._fail(word, value, "is no number that it can be")
        return value

    def numbers(self, word: str, allowed: Container[int], default: tuple[int, int]) -> list[int]:
        """Return a list of two whole numbers."""
        value = self._given.get(word, [*default])
        if (
            not isinstance(value, list)
            or len(value) != len(default)
            or any(type(each) is not int or each not in allowed for each in value)
        ):
            self._fail(word, value, "is no list of two numbers that they can be")
        return value

    def boolean(self, word: str) -> bool:
        """Return true or false, false unless given."""
        value = self._given.get(word, False)
        if not isinstance(value, bool):
            self._fail(word, value, "is neither true nor false")
        return value

    def text(self, word: str, default: str) -> str:
        """Return a string."""
        value = self._given.get(word, default)
        if not isinstance(value, str):
            self._fail(word, value, "is no string")
        return value

    def texts(self, word: str) -> list[str]:
        """Return a list of strings, empty unless given."""
        value = self._given.get(word, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self._fail(word, value, "is no list of strings")
        return value

    def word(self, word: str, known: Collection[str], default: str | None) -> str:
        """Return one of the ``known`` words; ``default`` None: it is required."""
        value = self._given.get(word, default)
        if not isinstance(value, str) or value not in known:
            self._fail(word, value, f"is none of {', '.join(known)}")
        return value

    def table(self, word: str) -> Reader:
        """Return an object within this one; it is required."""
        value = self._given.get(word)
        if not isinstance(value, dict):
            self._fail(word, value, "is no object")
        return Reader(value, f"{self.at}{word}.")

    def address(self, word: str) -> bytes:
        """Return an address, packed; it is required."""
        value = self._given.get(word)
        if not isinstance(value, str):
            self._fail(word, value, "is no string")
        return self._packed(word, value)

    def addresses(self, word: str) -> tuple[bytes, ...]:
        """Return a list of addresses, packed, empty unless given."""
        return tuple(self._packed(word, each) for each in self.texts(word))

    def _packed(self, word: str, value: str) -> bytes:
        try:
            return pack(value)
        except ValueError as error:
            raise ValueError(f"{self.at}{word}: {str(error)[:MAX_SHOWN]}") from None

    def _fail(self, word: str, value: object, what: str) -> NoReturn:
        raise ValueError(f"{self.at}{word}: {shown(value)} {what}")


def shown(value: object) -> str:
    """Return the beginning of what a client sent, as JSON."""
    try:
        return json.dumps(value)[:MAX_SHOWN]
    except RecursionError:  # it was read a few calls further up, where there was room for it
        return "what is nested so deeply"


def selected(reader: Reader) -> ServiceKey:
    """Return the service that a `lvsd.control.protocol.ServiceSelector` names. Raise ValueError."""
    port = reader.number("port", range(1 << 16), 0)
    fwmark = reader.number("fwmark", range(1 << 32), 0)
    family = reader.number("family", (4, 6), 4)
    protocol = reader.word("protocol", SELECTABLE, None) if reader.has("protocol") else None
    given = (protocol is not None, reader.has("address"))
    if given != (not fwmark, not fwmark) or (fwmark and port):
        raise ValueError(f"{reader.at[:-1]}: give protocol, address and port, or a fwmark")
    if fwmark:
        return ServiceKey(fwmark=fwmark, family=family)
    vip = reader.address("address")
    if reader.has("family") and family != (4 if len(vip) == 4 else 6):
        raise ValueError(f"{reader.at}family: the address is not of IPv{family}")
    return ServiceKey(NUMBERS[str(protocol)], vip, port, family=4 if len(vip) == 4 else 6)
