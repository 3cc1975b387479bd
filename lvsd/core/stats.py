"""Counters and rates of services and real servers, as ipvsadm shows them.

Counters only grow; `Stats.zero` (``lvsadm -Z``) moves the zero point instead. Rates are the
kernel's estimator to the bit (ip_est.c): every two seconds a quarter of the distance to the
latest sample, in fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lvsd.core.evidence import Hearing

ESTIMATOR_PERIOD_S = 2.0
"""How often `Estimator.sample` is to be called."""


class Totals(NamedTuple):
    """What ``--stats`` prints: connections, packets and bytes; in is from the client."""

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0


class Rates(NamedTuple):
    """What ``--rate`` prints, per second."""

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0


_NOTHING = Totals()
_STILL = Rates()


@dataclass(slots=True)
class Stats:
    """The raw counters of one real server; incremented in place by the packet path."""

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0


_PACKET_SHIFT, _PACKET_HALF = 9, 0x1FF
_BYTE_SHIFT, _BYTE_HALF = 4, 0xF
_SHIFTS = (_PACKET_SHIFT, _PACKET_SHIFT, _PACKET_SHIFT, _BYTE_SHIFT, _BYTE_SHIFT)
_HALVES = (_PACKET_HALF, _PACKET_HALF, _PACKET_HALF, _BYTE_HALF, _BYTE_HALF)


@dataclass(slots=True)
class Estimator:
    """Smoothed rates of five counters, with the kernel's arithmetic."""

    last: Totals = _NOTHING
    estimates: tuple[int, ...] = _NOTHING

    @property
    def idle(self) -> bool:
        """Whether all rates are zero, to the last bit."""
        estimates = self.estimates
        return estimates is _NOTHING or not any(estimates)

    def sample(self, totals: Totals) -> None:
        """Take in the counters' values two seconds after the last sample."""
        self.estimates = tuple(
            estimate + ((((new - old) << shift) - estimate) >> 2)
            for estimate, new, old, shift in zip(
                self.estimates, totals, self.last, _SHIFTS, strict=True
            )
        )
        self.last = totals

    def zero(self, totals: Totals) -> None:
        """Start anew from these counters, at rate zero."""
        self.last = totals
        self.estimates = _NOTHING

    @property
    def rates(self) -> Rates:
        """The present estimate, rounded as the kernel rounds it."""
        if self.idle:
            return _STILL
        return Rates(
            *(
                (estimate + half) >> (shift + 1)
                for estimate, half, shift in zip(self.estimates, _HALVES, _SHIFTS, strict=True)
            )
        )


class ZeroPoint(NamedTuple):
    """All that `Meter.zero` changes."""

    zero: Totals
    last: Totals
    estimates: tuple[int, ...]


@dataclass(slots=True)
class Meter:
    """Stats with a zero point and rates: what a listing shows of a real server or a service."""

    stats: Stats = field(default_factory=Stats)
    _zero: Totals = _NOTHING
    _estimator: Estimator = field(default_factory=Estimator)
    hearing: Hearing = field(default_factory=Hearing)
    _idle_at: int = 0
    """How much was counted when the estimator was last found idle."""

    @property
    def raw(self) -> Totals:
        """The counters since the beginning."""
        stats = self.stats
        return Totals(
            stats.connections,
            stats.in_packets,
            stats.out_packets,
            stats.in_bytes,
            stats.out_bytes,
        )

    @property
    def zero_totals(self) -> Totals:
        """What the counters were at the last `zero`."""
        return self._zero

    def go_on(self, counted: Totals, zero: Totals) -> None:
        """Count on from somebody else's counters, with their zero point; rates begin anew."""
        stats = self.stats
        stats.connections, stats.in_packets, stats.out_packets = counted[:3]
        stats.in_bytes, stats.out_bytes = counted[3:]
        self._zero = zero
        self._estimator.zero(counted)
        self._idle_at = sum(counted[:3])
        self.hearing.go_on(stats.connections, stats.out_packets)

    @property
    def totals(self) -> Totals:
        """The counters since the last `zero`."""
        if self._zero is _NOTHING:
            return self.raw
        return Totals(*(new - old for new, old in zip(self.raw, self._zero, strict=True)))

    @property
    def rates(self) -> Rates:
        """The smoothed rates per second."""
        return self._estimator.rates

    def sample(self, now: float) -> None:
        """Feed the estimator and the hearing; to be called every `ESTIMATOR_PERIOD_S`.

        One that is idle, where nothing was counted either, is passed over: it would stay as it is.
        """
        stats = self.stats
        counted = stats.connections + stats.in_packets + stats.out_packets
        if counted == self._idle_at:
            return
        self.hearing.sample(stats.connections, stats.out_packets, now)
        self._estimator.sample(self.raw)
        if self._estimator.idle:
            self._idle_at = counted

    @property
    def zero_point(self) -> ZeroPoint:
        """Where it counts from, and the rates since, for `go_back_to`."""
        estimator = self._estimator
        return ZeroPoint(self._zero, estimator.last, estimator.estimates)

    def go_back_to(self, point: ZeroPoint) -> None:
        """Count from an earlier zero point again, as if `zero` had not been called since."""
        self._zero, self._estimator.last, self._estimator.estimates = point

    def zero(self) -> None:
        """Show zeros from now on."""
        self._zero = self.raw
        self._estimator.zero(self._zero)
