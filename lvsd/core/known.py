"""A connection as somebody else knew it: a peer, a file, an engine before this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.service import RealServer
    from lvsd.core.template import Template
    from lvsd.packet.translation import Memory


class Known(NamedTuple):
    """What `Flows.adopt` takes in.

    ``key`` and ``reply_key`` as a `Connection` has them, ``state`` an index into its protocol's
    states, ``expires`` on this director's clock (None: after its state's whole timeout),
    ``memory`` what its translation had learned, ``template`` the one that promised its server.
    ``kept`` is where it is written down already. One that ``is_counted`` is among its server's
    already, and has room in the table; ``local`` is whose port its local end is, if that is
    claimed.
    """

    key: bytes
    reply_key: bytes
    server: RealServer
    state: int
    expires: float | None
    fwmark: int = 0
    memory: Memory = ()
    template: Template | None = None
    kept: int = 0
    is_counted: bool = False
    local: FreePorts | None = None
