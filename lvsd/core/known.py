"""A connection that another director had: a peer, a state file, the engine before this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.service import RealServer
    from lvsd.core.template import Template
    from lvsd.packet.translation import Memory


class Known(NamedTuple):
    """A connection for `Flows.adopt`.

    ``key`` and ``reply_key`` are those of a `Connection`, ``state`` is an index into the states of
    its protocol. ``expires`` is on this director's clock; None gives it the whole timeout of its
    state. ``memory`` is what its translation had learned, ``template`` the one that picked its
    server. ``kept`` is the offset of its record, if it has one. If it ``is_counted``, its server
    already counts it and the table has room for it. ``local`` owns the port of its local end, if
    that is already claimed.
    """

    key: bytes
    reply_key: bytes
    server: RealServer
    state: int
    expires: float | None
    memory: Memory = ()
    template: Template | None = None
    kept: int = 0
    is_counted: bool = False
    local: FreePorts | None = None
