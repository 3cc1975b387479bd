"""FULLNAT's first sequence numbers: ahead of all that a real server has seen from a local address.

To a real server all clients behind a local address are one host. A connection that reuses a port
soon must begin above the numbers of the one before: a server in TIME_WAIT takes a SYN for a new
connection only then (RFC 9293, section 3.6.1; RFC 6191 has the other way, by timestamps, which
unrelated clients do not offer).

That holds across restarts of the director, too, without anything kept but a secret: numbers grow
with the wall clock, and begin where the secret says (RFC 6528, section 3). Where they are behind
all the same, after a step of the clock, on another director with another secret, or since a
client sent more than the clock grew, the server answers a SYN with an old acknowledgement, and
`Translation.refuse_old` makes it give up.

So what is remembered of a pair of addresses is needed only while it is ahead of the clock, as a
client sent faster than that, or while a server may have a connection in TIME_WAIT whose numbers a
step of the clock would fall behind. Then it is forgotten, however many pairs come and go: the clock
gives a number at least as high.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS_PER_S: Final = 250_000
"""How fast first numbers grow by themselves: one each 4 us (RFC 9293, section 3.4.1)."""

GAP: Final = 64
"""A connection begins at least this far above the end of the one before.

All the ports of an address times this must stay far below 2**31: a port that comes again when all
others have had their turn begins above its old numbers only then.
"""

SWEEP_S: Final = 60.0
"""How often pairs are looked at."""

IDLE: Final = 4
"""Looks in which nothing was heard of a pair before it is forgotten: TIME_WAIT lasts for twice the
MSL, which is two minutes (RFC 9293, section 3.4.2)."""

SWEPT_AT_ONCE: Final = 500
"""Pairs that one `SequenceNumbers.sweep` looks at."""

_MASK: Final = (1 << 32) - 1
_AHEAD: Final = 1 << 31


class Origin(NamedTuple):
    """What a director begins with that the one before did not leave in its memory.

    secret  makes first numbers hard to guess; the same after a restart
    wall_s  the wall clock when the director's stands at 0, in seconds
    port    which port of a local address is taken first, counted from the lowest, modulo their
            number; another one after a restart, since servers may still know the last ones
    """

    secret: bytes = b""
    wall_s: float = 0.0
    port: int = 0


NEW: Final = Origin()
"""That of a director that nobody comes before."""


class SequenceNumbers:
    """First sequence numbers that grow for each pair of a local and a real address.

    They begin as ``origin`` says. All arithmetic is modulo 2**32.
    """

    __slots__ = ("_next_sweep", "_origin", "_pairs", "_unswept")

    def __init__(self, origin: Origin) -> None:
        self._next_sweep = 0.0
        self._unswept: Iterator[bytes] | None = None
        self._origin = origin
        self._pairs: dict[bytes, _Numbers] = {}

    def first(self, reply_key: bytes, now: float) -> int:
        """Return the first number of a new connection at ``now`` (seconds of the director's clock).

        ``reply_key`` is that of its replies, from the real to the local end.
        """
        pair = self._pairs.get(reply_key[1:-4]) or self._numbers(reply_key[1:-4])
        number = pair.offset + self._clock(now) & _MASK
        pair.looks = 0
        if pair.last is not None and not 0 < number - pair.last & _MASK < _AHEAD:
            number = pair.last + GAP & _MASK
        pair.last = number
        return number

    def seen(self, reply_key: bytes, number: int) -> None:
        """Let later connections of this pair begin above ``number``, the next of the last one's.

        A server in TIME_WAIT takes no other (RFC 9293, section 3.10.7.4: it is RCV.NXT there).
        """
        pair = self._pairs.get(reply_key[1:-4]) or self._numbers(reply_key[1:-4])
        pair.looks = 0
        if pair.last is None or 0 < number - pair.last & _MASK < _AHEAD:
            pair.last = number

    def sweep(self, now: float) -> bool:
        """Forget pairs that the clock has overtaken, so many at a time; return whether to go on."""
        if self._unswept is None:
            if now < self._next_sweep:
                return False
            self._next_sweep = now + SWEEP_S
            self._unswept = iter(tuple(self._pairs))
        clock = self._clock(now)
        some = list(islice(self._unswept, SWEPT_AT_ONCE))
        for key in some:
            pair = self._pairs[key]
            pair.looks += 1
            if pair.looks > IDLE and (
                pair.last is None or pair.offset + clock - pair.last & _MASK < _AHEAD
            ):
                del self._pairs[key]
        if len(some) < SWEPT_AT_ONCE:
            self._unswept = None
        return self._unswept is not None

    def has(self, pair: bytes) -> bool:
        """Whether anything is remembered of a pair, of packed addresses."""
        return pair in self._pairs

    def _clock(self, now: float) -> int:
        return int((now + self._origin.wall_s) * TICKS_PER_S)

    def last(self) -> Iterator[tuple[bytes, int]]:
        """Yield each pair, its packed addresses one after the other, with its last number."""
        for pair, numbers in tuple(self._pairs.items()):
            if numbers.last is not None:
                yield pair, numbers.last

    def go_on(self, pair: bytes, last: int) -> None:
        """Begin above the last number of a director before this one, where it is ahead."""
        numbers = self._numbers(pair)
        if numbers.last is None or 0 < last - numbers.last & _MASK < _AHEAD:
            numbers.last = last

    def _numbers(self, pair: bytes) -> _Numbers:
        numbers = self._pairs.get(pair)
        if numbers is None:
            digest = blake2s(pair, key=self._origin.secret, digest_size=4).digest()
            numbers = self._pairs[pair] = _Numbers(int.from_bytes(digest, "big"))
        return numbers


@dataclass(slots=True)
class _Numbers:
    """Of one pair: its number when the wall clock was at 0, and the last first number or end.

    ``looks`` counts the sweeps since it was heard of.
    """

    offset: int
    last: int | None = None
    looks: int = 0
