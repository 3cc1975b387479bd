"""How long a connection without packets lives: by its state, and by what its service says.

The operator sets three timeouts for all (``lvsadm --set``), and may set some for one service
alone. A path has its own list where its service says something, else the protocol's; so a packet
costs the same either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core import states
from lvsd.core.states import TCP, UDP

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.states import Protocol


class Timing(NamedTuple):
    """A service's own timeouts, in seconds; 0: as for all services.

    tcp_s           an established TCP connection
    udp_s           UDP
    udp_answered_s  UDP whose last packet was the server's, where replies pass the director
    """

    tcp_s: int = 0
    udp_s: int = 0
    udp_answered_s: int = 0

    def seconds(self, protocol: Protocol) -> list[float]:
        """Return the timeouts of a protocol's states; the protocol's own list if it may be that."""
        if protocol.number == TCP and self.tcp_s:
            seconds = protocol.timeouts.copy()
            seconds[states.TCP_ESTABLISHED] = float(self.tcp_s)
            return seconds
        if protocol.number == UDP and (self.udp_s or self.udp_answered_s):
            seconds = [float(self.udp_s) or each for each in protocol.timeouts]
            if protocol.answered is not None:
                seconds[protocol.answered] = float(self.udp_answered_s)
            return seconds
        return protocol.timeouts


AS_ALL: Final = Timing()
"""The timing of a service that says nothing."""


class Timeouts:
    """The protocols as connections have them, with the timeouts of all services.

    ``protocols`` are the usual ones by number, ``fullnat_tcp`` is TCP as FULLNAT times it,
    ``answered_udp`` UDP of services that forget what was answered sooner.
    """

    def __init__(self) -> None:
        usual = states.tcp(), states.udp(), states.sctp()
        self.protocols = {protocol.number: protocol for protocol in usual}
        self.fullnat_tcp = states.fullnat_tcp()
        self.answered_udp = states.answered_udp()

    def protocol(self, number: int, forwarder: Forwarder, timing: Timing) -> Protocol:
        """Return a protocol as new connections have it that have a forwarder."""
        if number == TCP and forwarder.per_connection:
            return self.fullnat_tcp
        if number == UDP and timing.udp_answered_s and not forwarder.bypasses:
            return self.answered_udp
        return self.protocols[number]

    def get(self) -> tuple[int, int, int]:
        """Return the timeouts that ``--set`` changes, in seconds: TCP, TCP after a FIN, UDP."""
        tcp, udp = self.protocols[TCP].timeouts, self.protocols[UDP].timeouts
        return int(tcp[states.TCP_ESTABLISHED]), int(tcp[states.TCP_FIN_WAIT]), int(udp[0])

    def set_seconds(self, tcp_s: int, tcp_fin_s: int, udp_s: int) -> None:
        """Change those timeouts; 0 leaves one be. `Service.retime` is to follow for all."""
        tcp, fullnat = self.protocols[TCP].timeouts, self.fullnat_tcp.timeouts
        for seconds, lists, state in (
            (tcp_s, (tcp, fullnat), states.TCP_ESTABLISHED),
            (tcp_fin_s, (tcp, fullnat), states.TCP_FIN_WAIT),
            (tcp_fin_s, (fullnat,), states.TCP_CLOSE_WAIT),
        ):
            for each in lists:
                each[state] = float(seconds) or each[state]
        for protocol in (self.protocols[UDP], self.answered_udp):
            protocol.timeouts[:] = [float(udp_s) or each for each in protocol.timeouts]

    @property
    def lists(self) -> tuple[tuple[float, ...], ...]:
        """All timeouts that `set_seconds` changes, for `go_back_to`."""
        return tuple(tuple(protocol.timeouts) for protocol in self._changing())

    def go_back_to(self, lists: tuple[tuple[float, ...], ...]) -> None:
        """Have earlier timeouts again; `Service.retime` is to follow for all."""
        for protocol, seconds in zip(self._changing(), lists, strict=True):
            protocol.timeouts[:] = seconds

    def _changing(self) -> tuple[Protocol, ...]:
        return self.protocols[TCP], self.fullnat_tcp, self.protocols[UDP], self.answered_udp
