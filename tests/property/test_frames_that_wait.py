"""Every packet for a neighbour is sent, given back as too long, or counted, whatever it meets.

The kernel is a made-up one: a link whose MTU changes, a neighbour whose MAC comes and goes, a route
that is lost. All of that may happen while packets wait, and while those that waited are sent; and
what leads to the neighbour is told then, later, or when it is asked for.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lvsd.core.verdict import Departure
from lvsd.io import frame_sender
from lvsd.io.frame_sender import FrameSender
from lvsd.io.leads import Lead
from tests.property.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESS = bytes((10, 0, 0, 1))
ETHERNET_HEADER = 14
MTUS = st.sampled_from([100, 200, 300])


class Kernel:
    """A link, its neighbour and the route there; `send` is a socket's."""

    def __init__(self) -> None:
        self.mtu = 300
        self.mac: bytes | None = None
        self.routed = True
        self.forgets_when_full = False
        self.sent: list[bytes] = []

    def lead(self) -> Lead:
        """Return what leads to the neighbour now."""
        if not self.routed:
            return Lead(problem="no route")
        return Lead(1, "eth0", bytes(6), self.mtu, self.mac)

    def send(self, frame: bytes) -> None:
        """Send a frame, if it is not longer than the link takes."""
        if len(frame) - ETHERNET_HEADER > self.mtu:
            if self.forgets_when_full:
                self.mac = None
            raise OSError(errno.EMSGSIZE, "Message too long")
        self.sent.append(frame[ETHERNET_HEADER:])

    def close(self) -> None:
        """Close nothing."""


class Waiting(RuleBasedStateMachine):
    """One neighbour, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.kernel = Kernel()
        self.returned: list[bytes] = []
        self.count = 0
        self.answers = False
        self.patches: list[Any] = [
            patch.object(frame_sender, "_mtu", lambda *_: self.kernel.mtu),
            patch.object(frame_sender, "_frame_socket", lambda _=None: self.kernel),
        ]
        for each in self.patches:
            each.start()
        self.sender = FrameSender(lambda: self.now, self._too_long, self._ask)

    def _ask(self, addresses: Sequence[bytes]) -> None:
        assert addresses == [ADDRESS]
        if self.answers:
            self._tell()

    def _tell(self) -> None:
        self.sender.leads({ADDRESS: self.kernel.lead()})

    def _too_long(self, packet: Departure, mtu: int) -> None:
        assert len(packet.data) > mtu
        self.returned.append(packet.data)

    @rule(length=st.sampled_from([90, 150, 250]), times=st.integers(1, 40))
    def packets_are_sent(self, length: int, times: int) -> None:
        """Send packets."""
        for _ in range(times):
            self.count += 1
            data = b"\x45" + self.count.to_bytes(3, "big") + bytes(length - 4)
            if mtu := self.sender.send(Departure(data), ADDRESS, self.now):
                assert len(data) > mtu
                self.returned.append(data)

    @rule(known=st.booleans(), said=st.booleans())
    def the_mac_comes_or_goes(self, *, known: bool, said: bool) -> None:
        """Let the neighbour answer, or the kernel forget it, and say so or not yet."""
        self.kernel.mac = bytes(5) + b"\1" if known else None
        if said:
            self._tell()

    @rule(answers=st.booleans())
    def who_is_asked_answers_or_does_not(self, *, answers: bool) -> None:
        """Answer from now on, at once, or only later."""
        self.answers = answers

    @rule(mtu=MTUS, forgets=st.booleans())
    def the_link_changes(self, mtu: int, *, forgets: bool) -> None:
        """Change the MTU; the kernel may forget the neighbour when a packet is too long."""
        self.kernel.mtu, self.kernel.forgets_when_full = mtu, forgets

    @rule(routed=st.booleans())
    def the_route_comes_or_goes(self, *, routed: bool) -> None:
        """Lose the route, or find it again."""
        self.kernel.routed = routed

    @rule()
    def ways_are_looked_up_anew(self) -> None:
        """Tell the sender what there is now."""
        self._tell()

    @rule()
    def the_server_is_removed(self) -> None:
        """Tell the sender that nothing leads there any more."""
        self.sender.leads({ADDRESS: None})

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 70.0]))
    def time_goes_by(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        self.sender.tick(self.now)

    @invariant()
    def each_packet_is_sent_given_back_counted_or_waits(self) -> None:
        """Add them up."""
        stats = self.sender.stats
        queues = [each.queue for each in self.sender._neighbours.values()]
        assert stats.waiting == sum(map(len, queues))
        assert (stats.sent, stats.too_long) == (len(self.kernel.sent), len(self.returned))
        ended = stats.failed + stats.expired + stats.crowded + stats.no_neighbour
        assert stats.sent + stats.too_long + stats.waiting + ended == self.count

    @invariant()
    def packets_leave_in_order(self) -> None:
        """Compare what was sent and what was given back with the order in which it came."""
        assert self.kernel.sent == sorted(self.kernel.sent)

    @invariant()
    def nothing_waits_for_a_mac_that_is_known(self) -> None:
        """Look for packets that wait though the sender could send them."""
        for each in self.sender._neighbours.values():
            assert not (each.queue and each.headers is not None)

    def teardown(self) -> None:
        """Close: what still waits is counted."""
        self.sender.close()
        self.each_packet_is_sent_given_back_counted_or_waits()
        for each in self.patches:
            each.stop()


Waiting.TestCase.settings = examples(200, stateful_step_count=30)
TestPacketsThatWaitForANeighbour = Waiting.TestCase
