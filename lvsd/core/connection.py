"""A connection: one client's, to one real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.base import Ends
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from forwarders.base import End
    from forwarders.plan import Plan
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.path import Path
    from lvsd.core.template import Template
    from lvsd.packet.translation import Translation


class Connection:
    """One client's connection to one real server; `lvsd.core.flows` has its life.

    ``reply_key`` is what replies are found by; where they bypass the director, ``key`` again.
    ``state`` is an index into ``path.protocol.states``. Where both ends are changed (FULLNAT),
    ``translation`` does it, and ``reply_key``'s destination is the local endpoint, whose port is
    one of ``local``. ``due`` is 0 while it is not in the table. ``kept`` is where it is written
    down (`lvsd.core.keeper`), 0: nowhere.
    """

    __slots__ = (
        "due",
        "expires",
        "kept",
        "key",
        "local",
        "path",
        "reply_key",
        "state",
        "template",
        "translation",
    )

    def __init__(self, key: bytes, reply_key: bytes, path: Path) -> None:
        self.key = key
        self.reply_key = reply_key
        self.path = path
        self.template: Template | None = None
        self.translation: Translation | None = None
        self.local: FreePorts | None = None
        self.kept = 0
        self.state = 0
        self.expires = 0.0
        self.due = 0

    @property
    def protocol(self) -> int:
        """The IP protocol number."""
        return self.path.protocol.number

    @property
    def fwmark(self) -> int:
        """The mark that its service is found by, 0 for none."""
        return self.path.server.service.key.fwmark

    @property
    def active(self) -> bool:
        """Whether the real server counts it as such."""
        return bool(self.path.protocol.active[self.state])

    @property
    def state_name(self) -> str:
        """The state as ``lvsadm -Lnc`` prints it."""
        return self.path.protocol.states[self.state]

    @property
    def client(self) -> End:
        """The client's address and port."""
        return split_key(self.key)[0]

    @property
    def ends(self) -> tuple[End, End]:
        """The real server's endpoint and, where it is translated, ours towards it."""
        return split_key(self.reply_key)

    @property
    def plan(self) -> Plan:
        """What happens to its packets, to be read: what the rewriters were compiled from.

        Where plans name the client, it is made anew.
        """
        if self.translation is None:
            return self.path.shared_plan()
        (vip, vport), (real, local) = split_key(self.key)[1], self.ends
        return self.path.forwarder.plan(Ends(vip, vport, *real, local, self.client))
