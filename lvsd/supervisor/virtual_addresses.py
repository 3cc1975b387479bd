"""Keep virtual addresses on the interfaces that the configuration names, and announced.

They are put there at the start, or when their interface appears, and again when somebody has taken
one away, as ``ifdown`` and ``ifup`` do. Who takes one away again and again is answered more and
more slowly, once a minute in the end, and named in the log. An address is announced whenever it is
put there, and when its link comes up or gets another MAC (`lvsd.io.announcer`).

What asks the kernel blocks: `VirtualAddresses.start`, `want` and `look` are for a thread. The rest
may be called meanwhile.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.errors import KernelError
from lvsd.net import addresses, links
from lvsd.net.kernel import talking
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lvsd.io.announcer import Announcer
    from lvsd.io.machine import Machine
    from lvsd.net.links import Link
    from lvsd.running.complaints import Obstacle

ASTRAY: Final = "cannot look after the virtual addresses"

CHECK_S: Final = 60.0
"""How often to look without being told of a change."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
CONTESTED_S: Final = 8.0
"""A pause from which on somebody is at work: it doubles each time that the address is gone."""
NAMED: Final = 5
"""Addresses put back at once that the log names one by one; of more it says how many."""
QUIET_S: Final = 60.0
"""How long an address has to stay where it is for its next loss to be the first one again."""

WANTED: Final = "it is wanted now"

_TAKEN: Final = "somebody takes a virtual address away again and again"
_WHO: Final = "see who does; lvsd puts it back once a minute at most"

log = structlog.get_logger("lvsd")


class _Kept:
    """One address on one interface."""

    __slots__ = (
        "address",
        "again",
        "index",
        "interface",
        "pause_s",
        "problem",
        "said_at",
        "since",
        "told",
        "was_there",
    )

    def __init__(self, interface: str, address: bytes) -> None:
        self.interface = interface
        self.address = address
        self.index = 0
        """The interface's when the address was last there, by whatever name; 0: it never was."""
        self.was_there = False
        """It was on its interface when that was last seen."""
        self.told: tuple[int, bytes] | None = None
        """The running interface, and its MAC, with which it was announced."""
        self.problem: Obstacle | None = None
        self.pause_s = 0.0
        self.again = 0.0
        """When it may be put there again."""
        self.since = 0.0
        """When it was put there."""
        self.said_at = float("-inf")

    @property
    def place(self) -> tuple[str, bytes]:
        return self.interface, self.address

    @property
    def name(self) -> str:
        return f"{text(self.address)} on {self.interface}"

    def wait(self, renamed: str | None) -> None:
        """Take note that its interface is missing, or ``renamed`` by now."""
        if renamed:
            what = "the interface of a virtual address was renamed"
            remedy = f'write `interface = "{renamed}"`, or rename it back; lvsd waits for that'
            self.problem = what, f"{self.name}, now {renamed}", remedy
        else:
            what = "the interface of a virtual address does not exist"
            self.problem = what, self.name, "make it, or correct `interface`; lvsd waits for it"
        self.was_there, self.told = False, None


class VirtualAddresses:
    """The addresses that are ``wanted``: an interface's name and a packed address each."""

    def __init__(self, wanted: Iterable[tuple[str, bytes]], announcer: Announcer) -> None:
        self._kept = [_Kept(*each) for each in dict.fromkeys(wanted)]
        self._announcer = announcer
        self._machine: Machine | None = None
        self._next_look = 0.0
        self._looking = Lock()

    def changed(self) -> None:
        """Take note that links or addresses changed: have the next `look` look."""
        self._next_look = 0.0

    def start(
        self, machine: Machine, now: float, before_some: Callable[[], None] = lambda: None
    ) -> None:
        """Put every address on its interface; one whose interface is missing waits for it.

        ``before_some`` is called now and then, and may raise what ends it in between. Raise
        KernelError or PrivilegeError when that cannot be for another reason.
        """
        self._machine = machine
        if not self._kept:
            return
        there, _ = _seen()
        ready = [each.place for each in self._kept if each.interface in there]
        machine.add_addresses(ready, before_some)
        self.look(now)

    def want(self, wanted: Iterable[tuple[str, bytes]], now: float) -> list[str]:
        """Keep these addresses from now on and take the others off; return what was, line by line.

        Nothing happens once `stop` was called. Raise KernelError when the journal cannot be
        written, or nothing can be seen.
        """
        places = dict.fromkeys(wanted)
        lines: list[str] = []
        with self._looking:
            known = {each.place: each for each in self._kept}
            machine = self._machine
            if machine is None or known.keys() == places.keys():
                return lines
            self._kept = [known.get(place) or _Kept(*place) for place in places]
            self._next_look = 0.0
            gone = known.keys() - places.keys()
            if gone:
                lines = machine.take_addresses(gone)
        self.look(now)
        return lines

    def look(self, now: float) -> None:
        """Put back what is missing, and announce what is new; nothing unless it is time to look.

        Raise KernelError when nothing can be seen; what is wrong with one address is among the
        `obstacles`.
        """
        with self._looking:
            if self._kept and self._machine is not None and now >= self._next_look:
                self._look(self._machine, now)

    def stop(self) -> None:
        """Put nothing back any more: the machine is about to be as it was.

        Returns when a `look` that is going on has ended, which is soon.
        """
        self._machine = None
        with self._looking:
            return

    def obstacles(self) -> Iterator[Obstacle]:
        """Yield the addresses that are missing, or contested."""
        for each in self._kept:
            if each.problem is not None:
                yield each.problem
            elif each.pause_s >= CONTESTED_S:
                yield _TAKEN, each.name, _WHO

    def counters(self) -> dict[str, int]:
        """Return how many addresses are wanted, and how many of them are missing."""
        missing = sum(each.problem is not None for each in self._kept)
        return {"wanted": len(self._kept), "missing": missing, "announced": self._announcer.sent}

    def _look(self, machine: Machine, now: float) -> None:
        self._next_look = now + CHECK_S  # what changes from now on is another look's
        try:
            by_name, there = _seen()
        except KernelError:
            self._next_look = 0.0
            raise
        names = {link.index: link.name for link in by_name.values()}
        missing: dict[tuple[str, bytes], tuple[_Kept, Link]] = {}
        for each in self._kept:
            link = by_name.get(each.interface)
            if link is None:
                each.wait(names.get(each.index))
            elif (link.index, each.address) in there:
                self._stays(each, link, now)
            elif now < each.again:
                each.problem = each.problem or (_TAKEN, each.name, _WHO)
                self._look_at(each.again)
            else:
                missing[each.place] = each, link
        if missing:
            self._put(machine, missing, now)

    def _put(
        self, machine: Machine, missing: Mapping[tuple[str, bytes], tuple[_Kept, Link]], now: float
    ) -> None:
        """Put addresses on their interfaces, and say so."""
        back: dict[str, list[str]] = {}
        try:
            refused = machine.put_addresses(tuple(missing), self._heed_stop)
        except _StoppedError:
            return
        for place, (each, link) in missing.items():
            if place in refused:
                what = "cannot put a virtual address on its interface"
                each.problem = what, each.name, str(refused[place])
                self._later(each, now)
            else:
                self._is_back(each, link, now, back)
        _say(back)

    def _heed_stop(self) -> None:
        if self._machine is None:
            raise _StoppedError

    def _is_back(self, each: _Kept, link: Link, now: float, back: dict[str, list[str]]) -> None:
        """Announce an address that was just put there, and note it unless that was said lately."""
        each.since = now
        self._later(each, now)
        if now >= each.said_at + QUIET_S:
            each.said_at = now
            why = "its interface is there now" if each.problem else WANTED
            why = "somebody took it away" if each.was_there else why
            back.setdefault(why, []).append(each.name)
        each.told = None
        self._stays(each, link, now)

    def _stays(self, each: _Kept, link: Link, now: float) -> None:
        """Announce an address where that is due; forget an old quarrel."""
        told = (link.index, link.mac) if link.is_running else None
        if told is not None and told != each.told and link.is_ethernet and link.speaks_arp:
            self._announcer.announce(*told, each.address, now)
        each.told, each.index, each.was_there = told, link.index, True
        each.problem = None
        each.since = each.since or now
        if now >= each.since + each.pause_s + QUIET_S:
            each.pause_s = 0.0

    def _later(self, each: _Kept, now: float) -> None:
        """Have an address wait longer each time."""
        each.again = now + each.pause_s
        each.pause_s = min(max(FIRST_PAUSE_S, 2 * each.pause_s), LONGEST_PAUSE_S)
        self._look_at(each.again)

    def _look_at(self, when: float) -> None:
        self._next_look = min(self._next_look, when)


class _StoppedError(Exception):
    """`VirtualAddresses.stop` was called."""


def _seen() -> tuple[dict[str, Link], set[tuple[int, bytes]]]:
    """Return all links by name, and where which address is. Raise KernelError."""
    with talking() as kernel:
        there = {(each.interface, each.address) for each in addresses.every(kernel)}
        return {link.name: link for link in links.every(kernel)}, there


def _say(back: dict[str, list[str]]) -> None:
    """Log which addresses were put on their interfaces, by why they had been missing."""
    for why, names in back.items():
        say = log.info if why == WANTED else log.warning
        if len(names) <= NAMED:
            for name in names:
                say("put a virtual address on its interface", address=name, why=why)
        else:
            what = "put virtual addresses on their interfaces"
            say(what, addresses=len(names), such_as=names[0], why=why)
