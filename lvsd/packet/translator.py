"""FULLNAT's compiler: from the plan of one connection to the translations of all of a path's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.tcp_translation import TcpTranslation
from lvsd.packet.telling import Way, ends, telling
from lvsd.packet.translation import Recipe
from lvsd.packet.udp_translation import UdpTranslation

if TYPE_CHECKING:
    from forwarders.plan import Plan
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.translation import Translation


class Translator:
    """Makes the translations of connections whose plans differ in their ends and in nothing else.

    ``plan`` is the plan of any one of them, ``protocol`` theirs; ``counts`` is shared by all.

    Raise TypeError for a step that is not FULLNAT's, ValueError for another protocol than TCP and
    UDP, steps that are missing, ends of two families, or a client told that is not the plan's own.
    """

    __slots__ = ("_protocol", "_recipe", "growth")

    def __init__(self, plan: Plan, protocol: int, counts: ClientAddressCounts) -> None:
        if protocol not in {TCP, UDP}:
            raise ValueError(f"FULLNAT translates TCP and UDP, not protocol {protocol}")
        exchanged = *ends(plan.request), *ends(plan.reply or ())
        if {len(address) for address, _ in exchanged} not in ({4}, {16}):
            raise ValueError("the old and new addresses must be all IPv4 or all IPv6")
        way = telling(plan, protocol)
        self._protocol = protocol
        self._recipe = Recipe(way, counts)
        self.growth = way.overhead if protocol == UDP and way.way is Way.PROXY else 0
        """How many bytes longer every request becomes, whether there is room or not."""

    def translation(self, key: bytes, reply_key: bytes, isn: int) -> Translation:
        """Return the translation of a connection with these keys; see `Translation`.

        ``isn`` is the initial sequence number that its server is to see; UDP has none.
        """
        if self._protocol == TCP:
            return TcpTranslation(self._recipe, key, reply_key, isn)
        return UdpTranslation(self._recipe, key, reply_key)
