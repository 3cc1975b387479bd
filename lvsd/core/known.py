"""A connection as somebody else knew it: a peer, a file, an engine before this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lvsd.core.service import RealServer
    from lvsd.core.template import Template
    from lvsd.packet.translation import Memory


class Known(NamedTuple):
    """What `Flows.adopt` takes in.

    ``key`` and ``reply_key`` as a `Connection` has them, ``state`` an index into its protocol's
    states, ``expires`` on this director's clock (None: after its state's whole timeout),
    ``memory`` what its translation had learned, ``template`` the one that promised its server.
    """

    key: bytes
    reply_key: bytes
    server: RealServer
    state: int
    expires: float | None
    fwmark: int = 0
    memory: Memory = ()
    template: Template | None = None
