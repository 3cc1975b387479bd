"""Find the entry of the routing tables that counts for an address, as the kernel does.

Rules lead to tables in the order of their priority; in a table the longest prefix counts, which is
looked for in one dictionary per prefix length. See fib_rules_lookup, fib_table_lookup and
ip6_pol_route of Linux. What depends on more than tables and rules is `Unknown`: the kernel has to
be asked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.net import rules as rule
from lvsd.net.families import INET
from lvsd.net.routes import LOCAL, THROW, UNICAST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.net.routes import Route
    from lvsd.net.rules import Rule

_LOCAL_TABLE, _MAIN_TABLE, _DEFAULT_TABLE = 255, 254, 253
_DEFAULT_RULES: Final = {(0, _LOCAL_TABLE), (32766, _MAIN_TABLE), (32767, _DEFAULT_TABLE)}
_LOOPBACK: Final = "lo"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Only the kernel can tell, and why."""

    why: str


SEVERAL: Final = Unknown("several routes or next hops are equally good")
OBJECT: Final = Unknown("an `ip nexthop` object says where it leads")
CARRIER: Final = Unknown("whether a link without a carrier counts is up to a sysctl")
OF_SOURCE: Final = Unknown("a route is for some sources only")
OF_PACKET: Final = Unknown("a rule looks at more than the address")
MERGED: Final = Unknown("the tables local and main may be one, as long as no rule was ever added")
REACHABLE: Final = Unknown("IPv6 passes over a gateway that does not answer, unless it forwards")


class Table:
    """One routing table of one family."""

    def __init__(self, routes: Iterable[Route]) -> None:
        by_length: dict[int, dict[int, list[Route]]] = defaultdict(lambda: defaultdict(list))
        for route in routes:
            if route.tos:
                continue  # for packets with that DSCP only
            bits = 8 * len(route.destination)
            prefix = int.from_bytes(route.destination, "big") >> bits - route.length
            by_length[route.length][prefix].append(route)
        self._by_length = [
            (length, {prefix: _by_metric(each) for prefix, each in found.items()})
            for length, found in sorted(by_length.items(), reverse=True)
        ]

    def matching(self, address: int, bits: int) -> Iterator[tuple[Route, ...]]:
        """Yield the entries of each prefix that matches, longest first, by metric."""
        for length, by_prefix in self._by_length:
            found = by_prefix.get(address >> bits - length)
            if found:
                yield found


def _by_metric(routes: list[Route]) -> tuple[Route, ...]:
    return tuple(sorted(routes, key=lambda route: route.metric))  # a stable sort: dump order counts


class Fib:
    """Tables and rules of one family."""

    def __init__(
        self, family: int, routes: Iterable[Route], rules: Iterable[Rule], *, forwards: bool
    ) -> None:
        self._is_ipv4 = family == INET
        self._bits = 32 if self._is_ipv4 else 128
        self._forwards = forwards
        by_table: dict[int, list[Route]] = defaultdict(list)
        for route in routes:
            if route.family == family:
                by_table[route.table].append(route)
        self._tables = {number: Table(found) for number, found in by_table.items()}
        self._rules = [each for each in rules if each.family == family]
        self._alike = [
            _matches(each, 0, self._bits) if each.destination is None else None
            for each in self._rules
        ]
        """By rule whether it matches, where that is the same for all addresses; else None."""
        self._bests: dict[int, Route | Unknown | None] = {}
        """What `_best` says, by the identity of the candidates, which stand in the tables."""
        plain = {(each.priority, each.table) for each in self._rules}
        self._is_default = self._is_ipv4 and plain <= _DEFAULT_RULES
        self._has_defaults = _DEFAULT_TABLE in by_table

    def find(self, address: bytes) -> Route | Unknown | None:
        """Return the entry for an address; None: no route, or one that refuses packets."""
        value = int.from_bytes(address, "big")
        at = 0
        while at < len(self._rules):
            each, matches = self._rules[at], self._alike[at]
            at += 1
            if matches is None:
                matches = _matches(each, value, self._bits)
            if isinstance(matches, Unknown):
                return matches
            if not matches or each.action == rule.NOP:
                continue
            if each.action == rule.GOTO:
                later = range(at, len(self._rules))
                at = next((i for i in later if self._rules[i].priority == each.target), at)
                continue
            if each.action != rule.TABLE:
                return None
            found = self._in_table(each, value)
            if found is not None:
                return found if isinstance(found, Unknown) else self._final(found, each, value)
        return None

    def _in_table(self, by: Rule, address: int) -> Route | Unknown | None:
        """Return what a rule's table has for an address; None to go on with the next rule."""
        table = self._tables.get(by.table)
        if table is None:
            return None
        for candidates in table.matching(address, self._bits):
            number = id(candidates)
            if number not in self._bests:
                self._bests[number] = self._best(candidates)
            found = self._bests[number]
            if isinstance(found, Unknown):
                return found
            if found is None:
                continue
            if found.kind == THROW:
                return None
            if "suppress_ifgroup" in by.others:
                return OF_PACKET
            refuses = found.kind not in {UNICAST, LOCAL}
            if not refuses and by.suppress_length is not None:
                return None if found.length <= by.suppress_length else found
            return found
        return None

    def _best(self, candidates: tuple[Route, ...]) -> Route | Unknown | None:
        """Return the entry that counts of those of one prefix; None: none has a link."""
        alive = [each for each in candidates if not each.hops or not all_dead(each)]
        if not alive:
            return None
        best = alive[0]
        if any(each.source_length for each in alive):
            return OF_SOURCE
        if best.nexthop_object is not None:
            return OBJECT
        if any(hop.has_no_carrier for hop in best.hops):
            return CARRIER
        if best.kind == UNICAST and len(best.hops) != 1:
            return SEVERAL
        others = [each for each in alive[1:] if each.metric == best.metric]
        if others and (not self._is_ipv4 or best.length == 0):
            return SEVERAL
        if not self._is_ipv4 and not self._forwards and best.hops and best.hops[0].gateway:
            return REACHABLE
        return best

    def _final(self, found: Route, by: Rule, address: int) -> Route | Unknown | None:
        """Return what becomes of the entry that was found."""
        refuses = found.kind not in {UNICAST, LOCAL}
        if self._is_default and refuses and self._has_defaults:
            return MERGED
        if self._is_default and by.table == _LOCAL_TABLE and _MAIN_TABLE in self._tables:
            for candidates in self._tables[_MAIN_TABLE].matching(address, self._bits):
                if candidates[0].length > found.length:
                    return MERGED
                break
        return None if refuses else found


def all_dead(route: Route) -> bool:
    """Whether no link of a route is up."""
    return all(hop.is_dead for hop in route.hops)


def _may_match(each: Rule) -> bool:
    """Whether a packet of this host, of no mark and no DSCP, may match a rule."""
    if each.in_interface not in {"", _LOOPBACK} or each.out_interface or each.tos:
        return False
    if each.mark is not None and each.mark[0] & each.mark[1]:
        return False
    return not ({"l3mdev", "tun_id"} & set(each.others))


def _matches(each: Rule, address: int, bits: int) -> bool | Unknown:
    """Return whether a packet to an address matches, before it has a source."""
    matches = _matches_plainly(each, address, bits)
    if matches and (each.has_ports or each.protocol or "uid_range" in each.others):
        return OF_PACKET
    return matches != each.is_inverted


def _matches_plainly(each: Rule, address: int, bits: int) -> bool:
    if not _may_match(each):
        return False
    if each.source is not None and not (bits == 32 and _within(0, each.source, bits)):
        return False
    return each.destination is None or _within(address, each.destination, bits)


def _within(address: int, prefix: tuple[bytes, int], bits: int) -> bool:
    value, length = prefix
    return not length or address >> bits - length == int.from_bytes(value, "big") >> bits - length
