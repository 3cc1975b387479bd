"""nf_tables by netlink: read a table, and make one from what was read.

A table that nft made once can be made again, and changed, without nft: the kernel tells its chains,
sets and rules in the form in which it takes them. That needs no other program, takes a millisecond
or two, and works on our own socket, which is what a table with an owner wants: such a table
(NFT_TABLE_F_OWNER, Linux 5.12) obeys one netlink socket alone, ``flush ruleset`` of all others
passes it by, and it ends with that socket.

Everything is about tables of the family inet. See nf_tables_api.c, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lvsd.io.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    be32,
    nested,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from lvsd.io.netlink import Link

OWNED: Final = 2
"""NFT_TABLE_F_OWNER: the table obeys the socket that made it alone, and ends with it."""

DORMANT: Final = 1
"""NFT_TABLE_F_DORMANT: the table's hooks are not there."""

GROUP: Final = 1 << 7 - 1
"""The group of notifications (NFNLGRP_NFTABLES), as a bit mask."""

_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = (
    _SUBSYSTEM | kind for kind in (0, 1, 2, 3, 4)
)
_NEWRULE, _GETRULE, _DELRULE, _NEWSET, _GETSET = (_SUBSYSTEM | kind for kind in (6, 7, 8, 9, 10))
_NEWSETELEM, _GETSETELEM, _DELSETELEM, _GETGEN = (_SUBSYSTEM | kind for kind in (12, 13, 14, 16))
_TABLE_KINDS: Final = range(_NEWTABLE, _DELSETELEM + 1)
_NFPROTO_INET: Final = 1
_NFGENMSG: Final = struct.Struct("!BBH")  # family, version, resource
_BEGIN: Final = Message(16, 0, _NFGENMSG.pack(0, 0, 10))
_END: Final = Message(17, 0, _NFGENMSG.pack(0, 0, 10))

_TABLE_NAME: Final = 1
"""NFTA_TABLE_NAME, and the table's name in messages about anything in it."""
_TABLE_FLAGS: Final = 2
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
_SET_NAME, _SET_KEY_LENGTH, _SET_DESCRIPTION, _SET_ID = 2, 5, 9, 10
_SET_FLAGS, _SET_TIMEOUT = 3, 11
_TIMEOUT_FLAG: Final = 0x10  # NFT_SET_TIMEOUT
_SET_KEPT: Final = (_SET_FLAGS, 4, _SET_KEY_LENGTH, 8, _SET_DESCRIPTION, 13)
"""Flags, type and length of the key, policy, description, nft's notes: what makes the set."""
_ELEMENTS_SET, _ELEMENTS, _ELEMENTS_SET_ID = 2, 3, 4
_GENERATION: Final = 1
_COUNTER: Final = b"counter\0"
_ELEMENT_HEAD: Final = 12
"""Bytes before the key: the headers of NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE."""
_HEADER: Final = struct.Struct("=HH")  # length, type
_NOTHING: Final[frozenset[bytes]] = frozenset()
_AT_ONCE: Final = 1000
"""Elements of one message: an attribute has 65,535 bytes at most, an element under 50."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a table consists of."""

    flags: int = 0
    chains: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> attributes of its hook, none where it has none."""
    rules: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """Chain -> attributes of each rule. Chains without rules are not there."""
    sets: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> attributes."""
    elements: Mapping[str, AbstractSet[bytes]] = field(default_factory=dict)
    """Set -> keys, as the kernel compares them. Empty sets are not there."""


def read(link: Link, name: str) -> Table | None:
    """Return what a table consists of; None without it. Raise OSError."""
    about = string(_TABLE_NAME, name)
    try:
        flags = attributes(link.get(_message(_GETTABLE, about)).body, _NFGENMSG.size)[_TABLE_FLAGS]
        sets, lengths = _read_sets(link, about)
        elements = {each: _read_elements(link, about, each, lengths[each]) for each in sets}
        return Table(
            int.from_bytes(flags, "big"),
            chains(link, name),
            rules(link, name),
            sets,
            {each: keys for each, keys in elements.items() if keys},
        )
    except FileNotFoundError:
        return None


def chains(link: Link, table: str) -> dict[str, bytes]:
    """Return the chains of a table, each with the attributes of its hook. Raise OSError."""
    found = {}
    for answer in link.dump(_message(_GETCHAIN)):
        told = attributes(answer.body, _NFGENMSG.size)
        if answer.body[0] == _NFPROTO_INET and _text(told[_TABLE_NAME]) == table:
            found[_text(told[_CHAIN_NAME])] = _hook(told)
    return found


def rules(link: Link, table: str) -> dict[str, tuple[bytes, ...]]:
    """Return the rules of the chains of a table, each by its attributes. Raise OSError."""
    found: dict[str, list[bytes]] = {}
    for answer in link.dump(_message(_GETRULE, string(_TABLE_NAME, table))):
        told = attributes(answer.body, _NFGENMSG.size)
        if answer.body[0] != _NFPROTO_INET or _text(told[_TABLE_NAME]) != table:
            continue
        notes = told.get(_RULE_USERDATA)
        found.setdefault(_text(told[_RULE_CHAIN]), []).append(
            nested(_RULE_EXPRESSIONS, _uncounted(told.get(_RULE_EXPRESSIONS, b"")))
            + (b"" if notes is None else attribute(_RULE_USERDATA, notes))
        )
    return {chain: tuple(each) for chain, each in found.items()}


def parts(rule: bytes) -> list[bytes]:
    """Return the expressions of a rule, each by its attributes."""
    expressions = attributes(rule, 0).get(_RULE_EXPRESSIONS, b"")
    return [each[_HEADER.size :] for each in _listed(expressions)]


def stands(link: Link, name: str) -> bool:
    """Return whether there is a table of that name. Raise OSError."""
    try:
        link.get(_message(_GETTABLE, string(_TABLE_NAME, name)))
    except FileNotFoundError:
        return False
    return True


def generation(link: Link) -> int:
    """Return the number of the last change to anything in nf_tables here. Raise OSError."""
    answer = link.get(_message(_GETGEN))
    return int.from_bytes(attributes(answer.body, _NFGENMSG.size)[_GENERATION], "big")


def transact(link: Link, messages: Sequence[Message]) -> None:
    """Make changes as one transaction. Raise OSError, and then nothing has changed."""
    link.do_batch(_BEGIN, messages, _END)


def new_table(name: str, flags: int) -> Message:
    """Make an empty table; OSError EEXIST if it is there."""
    create = NLM_F_CREATE | NLM_F_EXCL
    return _message(_NEWTABLE, string(_TABLE_NAME, name), be32(_TABLE_FLAGS, flags), flags=create)


def gone(name: str, flags: int) -> list[Message]:
    """Return the messages after which there is no such table, whether there was one or not.

    ``flags`` are those that it has, if it is there.
    """
    about = string(_TABLE_NAME, name)
    return [
        _message(_NEWTABLE, about, be32(_TABLE_FLAGS, flags), flags=NLM_F_CREATE),
        _message(_DELTABLE, about),
    ]


def replaced(name: str, table: Table) -> Iterator[Message]:
    """Yield the messages that make a table, in place of one of that name."""
    yield from gone(name, table.flags)
    yield new_table(name, table.flags)
    for chain, hook in table.chains.items():
        yield _about(_NEWCHAIN, name, string(_CHAIN_NAME, chain), hook)
    for number, (each, kind) in enumerate(table.sets.items(), 1):
        yield _about(_NEWSET, name, string(_SET_NAME, each), kind, be32(_SET_ID, number))
        yield from added(name, each, table.elements.get(each, ()), number)
    for chain, rules in table.rules.items():
        for rule in rules:
            yield new_rule(name, chain, rule)


def new_rule(name: str, chain: str, rule: bytes) -> Message:
    """Append a rule, given by its attributes."""
    about = string(_TABLE_NAME, name) + string(_RULE_CHAIN, chain)
    return _message(_NEWRULE, about, rule, flags=NLM_F_CREATE | NLM_F_APPEND)


def refilled(name: str, chain: str, rules: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages that give a chain other rules, and leave its hook alone.

    Packets that wait in a queue stay there. Of a hook that goes, be it for a moment within a
    transaction, the kernel drops all that wait in whatever queue (nf_queue_nf_hook_drop).
    """
    yield _message(_DELRULE, string(_TABLE_NAME, name), string(_RULE_CHAIN, chain))
    for each in rules:
        yield new_rule(name, chain, each)


def rule(*expressions: bytes) -> bytes:
    """Return a rule's attributes."""
    return nested(_RULE_EXPRESSIONS, *expressions)


def expression(name: str, *data: bytes) -> bytes:
    """Return one expression of a rule."""
    return nested(1, string(1, name), nested(2, *data))


def added(name: str, of: str, keys: Iterable[bytes], number: int = 0) -> Iterator[Message]:
    """Yield the messages that add elements to a set; those that it has already are no error.

    ``number`` is the set's where the same transaction makes it.
    """
    set_id = be32(_ELEMENTS_SET_ID, number) if number else b""
    for elements in _portions(keys):
        about = string(_ELEMENTS_SET, of)
        yield _about(_NEWSETELEM, name, about, elements, set_id)


def removed(name: str, of: str, keys: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages that remove elements from a set: OSError ENOENT if one is not there."""
    for elements in _portions(keys):
        yield _message(_DELSETELEM, string(_TABLE_NAME, name), string(_ELEMENTS_SET, of), elements)


def changed(
    name: str, old: Mapping[str, AbstractSet[bytes]], new: Mapping[str, AbstractSet[bytes]]
) -> Iterator[Message]:
    """Yield the messages that turn a table's sets from ``old`` into ``new``; none if they agree."""
    for each in sorted(old.keys() | new.keys()):
        before, after = old.get(each, _NOTHING), new.get(each, _NOTHING)
        yield from removed(name, each, before - after)
        yield from added(name, each, after - before)


def expiring(kind: bytes, timeout_ms: int) -> bytes:
    """Return a set's attributes such that an element is gone so long after it was added."""
    found = attributes(kind, 0)
    flags = int.from_bytes(found.pop(_SET_FLAGS, b"\0"), "big") | _TIMEOUT_FLAG
    kept = (
        (nested if each == _SET_DESCRIPTION else attribute)(each, value)
        for each, value in found.items()
    )
    timeout = attribute(_SET_TIMEOUT, timeout_ms.to_bytes(8, "big"))
    return b"".join((be32(_SET_FLAGS, flags), *kept, timeout))


def moved(hook: bytes, later: int) -> bytes:
    """Return a chain's hook attributes with another priority: ``later`` by so much."""
    found = attributes(hook, 0)
    inner = attributes(found[_CHAIN_HOOK], 0)
    priority = int.from_bytes(inner[_HOOK_PRIORITY], "big", signed=True) + later
    return _hook({**found, _CHAIN_HOOK: _where(inner[_HOOK_NUMBER], priority)})


def table_of(message: Message) -> str:
    """Return the name of the table of family inet that a notification is about, or nothing."""
    if message.kind not in _TABLE_KINDS or message.body[:1] != bytes((_NFPROTO_INET,)):
        return ""
    name = attributes(message.body, _NFGENMSG.size).get(_TABLE_NAME, b"")
    return _text(name)


def _message(kind: int, *body: bytes, flags: int = 0) -> Message:
    return Message(kind, flags, _NFGENMSG.pack(_NFPROTO_INET, 0, 0) + b"".join(body))


def _about(kind: int, table: str, *body: bytes) -> Message:
    """Return a message that creates something in a table."""
    return _message(kind, string(_TABLE_NAME, table), *body, flags=NLM_F_CREATE)


def _portions(keys: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the attribute with the elements, as many of them as a message takes.

    All keys of a set have one length, and so one header before them and one padding behind.
    """
    found = list(keys)
    if not found:
        return
    encoded = nested(1, nested(1, attribute(1, found[0])))
    head, padding = encoded[:_ELEMENT_HEAD], encoded[_ELEMENT_HEAD + len(found[0]) :]
    between = padding + head
    for start in range(0, len(found), _AT_ONCE):
        yield nested(_ELEMENTS, head, between.join(found[start : start + _AT_ONCE]), padding)


def _hook(found: dict[int, bytes]) -> bytes:
    """Return the attributes that make a chain a base chain, always in the same form."""
    if _CHAIN_HOOK not in found:
        return b""
    inner = attributes(found[_CHAIN_HOOK], 0)
    priority = int.from_bytes(inner[_HOOK_PRIORITY], "big", signed=True)
    return b"".join(
        (
            nested(_CHAIN_HOOK, _where(inner[_HOOK_NUMBER], priority)),
            attribute(_CHAIN_POLICY, found[_CHAIN_POLICY]),
            attribute(_CHAIN_TYPE, found[_CHAIN_TYPE]),
        )
    )


def _where(number: bytes, priority: int) -> bytes:
    return attribute(_HOOK_NUMBER, number) + be32(_HOOK_PRIORITY, priority)


def _uncounted(expressions: bytes) -> bytes:
    """Return the expressions of a rule with all counters at zero."""
    if _COUNTER not in expressions:
        return expressions
    return b"".join(
        expression("counter") if attributes(each, _HEADER.size).get(1) == _COUNTER else each
        for each in _listed(expressions)
    )


def _listed(attributes: bytes) -> list[bytes]:
    """Return each attribute of a list, header and padding included."""
    found, offset = [], 0
    while offset + _HEADER.size <= len(attributes):
        length, _ = _HEADER.unpack_from(attributes, offset)
        end = offset + max(_HEADER.size, length + 3 & ~3)
        found.append(attributes[offset:end])
        offset = end
    return found


def _read_sets(link: Link, about: bytes) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return each set's attributes, and the length of its key in bytes."""
    sets, lengths = {}, {}
    for answer in link.dump(_message(_GETSET, about)):
        found = attributes(answer.body, _NFGENMSG.size)
        name = _text(found[_SET_NAME])
        kept = (each for each in _SET_KEPT if each in found)
        sets[name] = b"".join(
            (nested if each == _SET_DESCRIPTION else attribute)(each, found[each]) for each in kept
        )
        lengths[name] = int.from_bytes(found[_SET_KEY_LENGTH], "big")
    return sets, lengths


def _read_elements(link: Link, about: bytes, name: str, length: int) -> frozenset[bytes]:
    """Return the keys of a set; what is more than a key stands as the kernel told it."""
    keys = set()
    plain = _ELEMENT_HEAD + (length + 3 & ~3)
    for answer in link.dump(_message(_GETSETELEM, about, string(_ELEMENTS_SET, name))):
        told = attributes(answer.body, _NFGENMSG.size).get(_ELEMENTS, b"")
        offset = 0
        while offset + _HEADER.size <= len(told):
            size, _ = _HEADER.unpack_from(told, offset)
            key_at = offset + _ELEMENT_HEAD
            is_plain = size == plain
            keys.add(told[key_at : key_at + length] if is_plain else told[offset : offset + size])
            offset += max(_HEADER.size, size + 3 & ~3)
    return frozenset(keys)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode(errors="replace")
