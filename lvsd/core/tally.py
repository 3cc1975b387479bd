"""What became of packets that lvsd did not send on: how many passed, how many were dropped, why."""

from __future__ import annotations

from collections import Counter

from lvsd.core.verdict import Reason, Verdict


class Tally:
    """Counts such packets. Each method returns the verdict that it has counted."""

    __slots__ = ("drops", "passed")

    def __init__(self) -> None:
        self.drops: Counter[Reason] = Counter()
        self.passed = 0

    def drop(self, reason: Reason) -> Verdict:
        """Drop a packet."""
        self.drops[reason] += 1
        return Verdict.DROP

    def let_pass(self) -> Verdict:
        """Let a packet go on as it is."""
        self.passed += 1
        return Verdict.PASS

    def dropped(self) -> dict[str, int]:
        """Return the number of packets dropped, for every reason there is."""
        return {reason.value: self.drops[reason] for reason in Reason}
