"""Tables as frozen classes: what each key of one reads, and the way from a document to objects.

A table is a dataclass whose fields are made by `key`. A key's reader takes whatever stands in the
file and returns the value, or raises ValueError with the whole message (`fields`); what has faults
of its own inside is a `Part`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from lvsd.config.faults import Fault, kind, unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvsd.config.faults import Key

_READER: Final = "reader"
_WORD: Final = "word"
_EXPECTED: Final = "expected"


class Table:
    """What all tables share: `Reading` makes them, and nothing changes them afterwards."""

    __slots__ = ()


_Table = TypeVar("_Table", bound=Table)


class EnoughError(Exception):
    """So many faults are found that looking for more of them would help nobody."""


class Part(ABC):
    """A key's reader that finds faults with more than one place to blame."""

    @abstractmethod
    def read(self, reading: Reading[Any], value: Any, at: Key) -> Any:
        """Return the value; once a fault was added to ``reading``, anything."""


def key(
    reader: Callable[[Any], Any] | Part,
    default: Any = dataclasses.MISSING,
    *,
    expected: str = "",
    word: str = "",
) -> Any:
    """Return the field of a key, which the file calls ``word`` if that is another name.

    Without a default the key is required, and ``expected`` says what is missing.
    """
    metadata = {_READER: reader, _WORD: word, _EXPECTED: expected}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class _Shape(NamedTuple):
    """The keys of a table: attribute and reader by word, and what is expected of required ones."""

    plain: Mapping[str, tuple[str, Callable[[Any], Any]]]
    parts: Mapping[str, tuple[str, Part]]
    required: Mapping[str, str]


def fields_of(table: type[Table]) -> dict[str, dataclasses.Field[Any]]:
    """Return a table's fields by the keys of the file."""
    found = dataclasses.fields(table)  # type: ignore[arg-type]  # every table is a dataclass
    return {field.metadata[_WORD] or field.name: field for field in found}


def _shape_of(table: type[Table]) -> _Shape:
    if table not in _SHAPES:
        _SHAPES[table] = _new_shape(table)
    return _SHAPES[table]


_SHAPES: Final[dict[type[Table], _Shape]] = {}


def _new_shape(table: type[Table]) -> _Shape:
    fields = fields_of(table)
    readers = {word: (field.name, field.metadata[_READER]) for word, field in fields.items()}
    return _Shape(
        {word: each for word, each in readers.items() if not isinstance(each[1], Part)},
        {word: each for word, each in readers.items() if isinstance(each[1], Part)},
        {
            word: field.metadata[_EXPECTED]
            for word, field in fields.items()
            if field.default is dataclasses.MISSING
        },
    )


def keys_of_tables(table: type[Table], name: str = "") -> dict[str, list[str]]:
    """Return the keys of every table by the table's dotted name, as in the file."""
    tables = {name: list(fields_of(table))}
    for word, (_, part) in _shape_of(table).parts.items():
        if isinstance(part, TableOf | TablesOf):
            tables |= keys_of_tables(part.table, f"{name}.{word}" if name else word)
    return tables


class Reading(Generic[_Table]):
    """Makes an object of ``root`` from a document, and keeps up to ``most`` of its faults."""

    def __init__(self, root: type[_Table], most: int) -> None:
        self._root = root
        self._most = most
        self.faults: list[Fault] = []

    @cached_property
    def _known(self) -> dict[str, list[str]]:
        return keys_of_tables(self._root)

    def of(self, document: dict[str, Any]) -> _Table | None:
        """Return the object, or None when there are faults."""
        try:
            return self.table(self._root, document, ())
        except EnoughError:
            return None

    def add(self, key: Key, text: str) -> None:
        """Keep a fault. Raise EnoughError with the last one."""
        self._keep(Fault(key, text))

    def _keep(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) >= self._most:
            raise EnoughError

    def table(self, table: type[_Table], content: dict[str, Any], at: Key) -> _Table | None:
        """Return an object of the table at a key, or None when it has faults."""
        before = len(self.faults)
        plain, parts, required = _shape_of(table)
        values = {}
        for word, value in content.items():
            if (known := plain.get(word)) is not None:
                attribute, read = known
                try:
                    values[attribute] = read(value)
                except ValueError as error:
                    self.add((*at, word), str(error))
            elif (known_part := parts.get(word)) is not None:
                attribute, part = known_part
                values[attribute] = part.read(self, value, (*at, word))
            else:
                name = ".".join(each for each in at if isinstance(each, str))
                self._keep(unknown_key((*at, word), self._known, name))
        if not content.keys() >= required.keys():
            for word, expected in required.items():
                if word not in content:
                    self.add((*at, word), f"missing, expected {expected}")
        return table(**values) if len(self.faults) == before else None


class TableOf(Part):
    """Reads one table, ``[word]``."""

    def __init__(self, table: type[Table]) -> None:
        self.table = table

    def read(self, reading: Reading[Any], value: Any, at: Key) -> Any:
        """Return an object of the table."""
        if isinstance(value, dict):
            return reading.table(self.table, value, at)
        return reading.add(at, f"{kind(value)}, expected a table")


class ListOf(Part):
    """Reads a list of values, and makes them ``into`` a tuple or a set."""

    def __init__(
        self, read: Callable[[Any], Any], expected: str, into: Callable[[Any], Any] = tuple
    ) -> None:
        self._read = read
        self._expected = expected
        self._into = into

    def read(self, reading: Reading[Any], value: Any, at: Key) -> Any:
        """Return the values of the list."""
        if not isinstance(value, list):
            return reading.add(at, f"{kind(value)}, expected {self._expected}")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(self._read(item))
            except ValueError as error:
                reading.add((*at, index), str(error))
        return self._into(found)


class TablesOf(Part):
    """Reads an array of tables, ``[[word]]``."""

    def __init__(self, table: type[Table], expected: str) -> None:
        self.table = table
        self._expected = expected

    def read(self, reading: Reading[Any], value: Any, at: Key) -> Any:
        """Return an object for each table of the array."""
        if not isinstance(value, list):
            return reading.add(at, f"{kind(value)}, expected {self._expected}")
        found = []
        for index, item in enumerate(value):
            if isinstance(item, dict):
                found.append(reading.table(self.table, item, (*at, index)))
            else:
                reading.add((*at, index), f"{kind(item)}, expected {self._expected}")
        return tuple(found)
