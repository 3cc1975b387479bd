"""Where in a TOML file each key stands: tomli knows the values but not their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tomli
import tree_sitter_toml
from tree_sitter import Language, Parser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tree_sitter import Node

    from lvsd.config.faults import Key

_QUOTES = frozenset("\"'")
_KEYS = frozenset({"bare_key", "quoted_key", "dotted_key"})
_TABLES = frozenset({"table", "table_array_element"})


class Lines:
    """The lines of the ``wanted`` keys of one document that tomli found to be good TOML.

    What is in other tables is passed over: most of a long document.
    """

    def __init__(self, text: str, wanted: Iterable[Key]) -> None:
        self._wanted = {key[:depth] for key in wanted for depth in range(len(key) + 1)}
        """The keys, and those of the tables around them."""
        self._lines: dict[Key, int] = {}
        self._lengths: dict[Key, int] = {}
        parser = Parser(Language(tree_sitter_toml.language()))
        for node in _tables(parser.parse(text.encode()).root_node):
            self._table(node)

    def of(self, key: Key) -> int:
        """Return the line (from 1) of a key, or of the innermost table around a missing one."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)

    def _table(self, node: Node) -> None:
        """Take in a table with its header; the document itself is one without."""
        header: Key = ()
        if (key := _key_of(node)) is not None:
            header = self._resolved(_words(key))
            if node.type == "table_array_element":
                index = self._lengths.get(header, 0)
                self._lengths[header] = index + 1
                self._lines.setdefault(header, _line(node))
                header = (*header, index)
            self._lines[header] = _line(node)
        if header in self._wanted:
            self._pairs(node, header)

    def _resolved(self, words: tuple[str, ...]) -> Key:
        """Return a header's key with the index of the present element at each array."""
        key: Key = ()
        for depth, word in enumerate(words, 1):
            key = (*key, word)
            if depth < len(words) and key in self._lengths:
                key = (*key, self._lengths[key] - 1)
        return key

    def _pairs(self, node: Node, table: Key) -> None:
        for pair in node.named_children:
            if pair.type != "pair" or (key := _key_of(pair)) is None:
                continue
            path = table
            for word in _words(key):
                path = (*path, word)
                self._lines.setdefault(path, _line(key))
            self._value(pair.named_children[-1], path)

    def _value(self, node: Node, path: Key) -> None:
        if path not in self._wanted:
            return
        if node.type == "inline_table":
            self._pairs(node, path)
        elif node.type == "array":
            items = (child for child in node.named_children if child.type != "comment")
            for index, item in enumerate(items):
                self._lines[*path, index] = _line(item)
                self._value(item, (*path, index))


def _tables(document: Node) -> Iterator[Node]:
    """Yield the document and its tables in file order, wherever the grammar nests them."""
    yield document
    for child in document.named_children:
        if child.type in _TABLES:
            yield from _tables(child)


def _key_of(node: Node) -> Node | None:
    return next((child for child in node.named_children if child.type in _KEYS), None)


def _words(key: Node) -> tuple[str, ...]:
    """Return the words of a key; those in quotes are decoded by tomli itself."""
    text = (key.text or b"").decode()
    if not _QUOTES & set(text):
        return tuple(word.strip() for word in text.split("."))
    table: object = tomli.loads(f"{text} = 0")
    words: list[str] = []
    while isinstance(table, dict):
        word, table = next(iter(table.items()))
        words.append(word)
    return tuple(words)


def _line(node: Node) -> int:
    return node.start_point.row + 1
