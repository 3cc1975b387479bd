"""Keep virtual addresses on the interfaces that the configuration names, and announced.

They are put there at the start, or when their interface appears, and again when somebody has taken
one away, as ``ifdown`` and ``ifup`` do. Who takes one away again and again is answered more and
more slowly, once a minute in the end, and named in the log. An address is announced whenever it is
put there, and when its link comes up or gets another MAC (`lvsd.io.announcer`).
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.errors import KernelError
from lvsd.io import links
from lvsd.io.routes import local_addresses
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from lvsd.io.announcer import Announcer
    from lvsd.io.machine import Machine
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
        "link",
        "pause_s",
        "problem",
        "said_at",
        "since",
    )

    def __init__(self, interface: str, address: bytes) -> None:
        self.interface = interface
        self.address = address
        self.index = 0
        """The interface's when the address was last there, by whatever name; 0: it never was."""
        self.link: links.LinkState | None = None
        """As it was when the address was last there."""
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

    def wait(self) -> None:
        """Take note that its interface is missing, or has another name by now."""
        if self.index and (renamed := links.name_of(self.index)):
            what = "the interface of a virtual address was renamed"
            remedy = f'write `interface = "{renamed}"`, or rename it back; lvsd waits for that'
            self.problem = what, f"{self.name}, now {renamed}", remedy
        else:
            what = "the interface of a virtual address does not exist"
            self.problem = what, self.name, "make it, or correct `interface`; lvsd waits for it"
        self.link = None


class VirtualAddresses:
    """The addresses that are ``wanted``: an interface's name and a packed address each."""

    def __init__(self, wanted: Iterable[tuple[str, bytes]], announcer: Announcer) -> None:
        self._kept = [_Kept(*each) for each in dict.fromkeys(wanted)]
        self._announcer = announcer
        self._machine: Machine | None = None
        self._next_look = 0.0
        self._steps: Generator[None, None, None] = _nothing()
        """The look that is going on, if any."""

    def changed(self) -> None:
        """Take note that links or addresses changed: have the next `look` look."""
        self._next_look = 0.0

    def start(
        self, machine: Machine, now: float, before_each: Callable[[], None] = lambda: None
    ) -> None:
        """Put every address on its interface; one whose interface is missing waits for it.

        ``before_each`` may raise what ends it in between. Raise KernelError or PrivilegeError
        when that cannot be for another reason.
        """
        self._machine = machine
        found = self._links()
        ready = [each.place for each in self._kept if found[each.interface] is not None]
        before_each()
        with closing(machine.adding_addresses(ready)) as adding:
            for _, error in adding:
                if error is not None:
                    raise error
                before_each()
        machine.wait_for_addresses(ready)
        self.changed()
        for _ in self.looking(now):
            before_each()

    def looking(self, now: float) -> Iterator[None]:
        """Put back what is missing, and announce what is new; nothing unless it is time to look.

        Step by step: a thousand addresses take half a second. Raise KernelError when nothing can
        be seen; what is wrong with one address is among the `obstacles`.
        """
        self._steps = self._looking(now)
        return self._steps

    def _looking(self, now: float) -> Generator[None, None, None]:
        if not self._kept or self._machine is None or now < self._next_look:
            return
        found, there = self._links(), local_addresses()
        self._next_look = now + CHECK_S
        missing: dict[tuple[str, bytes], tuple[_Kept, links.LinkState]] = {}
        for each in self._kept:
            yield
            link = found[each.interface]
            if link is None:
                each.wait()
            elif (link.interface, each.address) in there:
                self._stays(each, link, now)
            elif now < each.again:
                each.problem = each.problem or (_TAKEN, each.name, _WHO)
                self._look_at(each.again)
            else:
                missing[each.place] = each, link
        yield from self._putting(missing, now)

    def stop(self) -> None:
        """Put nothing back any more: the machine is about to be as it was."""
        self._machine = None
        self._steps.close()

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

    def _links(self) -> dict[str, links.LinkState | None]:
        """Return the state of each interface, None without one. Raise KernelError."""
        names = {each.interface for each in self._kept}
        try:
            return {name: links.state(name) for name in names}
        except OSError as error:
            remedy = "see whether `ip link` works in this namespace"
            raise KernelError("look at the interfaces", error, remedy) from error

    def _putting(
        self, missing: dict[tuple[str, bytes], tuple[_Kept, links.LinkState]], now: float
    ) -> Iterator[None]:
        """Put addresses on their interfaces, step by step, and say so at the end."""
        if not missing or self._machine is None:
            return
        back: dict[str, list[str]] = {}
        try:
            with closing(self._machine.adding_addresses(tuple(missing))) as adding:
                for place, error in adding:
                    each, link = missing[place]
                    if error is not None:
                        what = "cannot put a virtual address on its interface"
                        each.problem = what, each.name, str(error)
                        self._later(each, now)
                    else:
                        self._is_back(each, link, now, back)
                    yield
        finally:
            _say(back)

    def _is_back(
        self, each: _Kept, link: links.LinkState, now: float, back: dict[str, list[str]]
    ) -> None:
        """Announce an address that was just put there, and note it unless that was said lately."""
        each.since = now
        self._later(each, now)
        if now >= each.said_at + QUIET_S:
            each.said_at = now
            why = "somebody took it away" if each.link else "its interface is there now"
            back.setdefault(why, []).append(each.name)
        each.link = None
        self._stays(each, link, now)

    def _stays(self, each: _Kept, link: links.LinkState, now: float) -> None:
        """Announce an address where that is due; forget an old quarrel."""
        if link.is_running and link != each.link:
            self._announcer.announce(link, each.address, now)
        each.link, each.index = link, link.interface
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


def _nothing() -> Generator[None, None, None]:
    yield from ()


def _say(back: dict[str, list[str]]) -> None:
    """Log which addresses were put on their interfaces, by why they had been missing."""
    for why, names in back.items():
        if len(names) <= NAMED:
            for name in names:
                log.warning("put a virtual address on its interface", address=name, why=why)
        else:
            what = "put virtual addresses on their interfaces"
            log.warning(what, addresses=len(names), such_as=names[0], why=why)
