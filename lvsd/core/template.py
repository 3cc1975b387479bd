"""A persistence template: the promise that a client keeps its real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from lvsd.core.service import RealServer

TemplateKey: TypeAlias = tuple[int, bytes, bytes, int]
"""Protocol (0: a fwmark service), masked client, VIP (or the mark, packed), vport."""

LINGER_S: Final = 60.0
"""An expired template that still controls connections lives on in steps of this."""


class Template:
    """A promise of persistence: this client (or network) goes to this real server.

    ``controlled`` counts its living connections; ``assured`` once one of them was established.
    ``timeout`` is the service's, in seconds; `LINGER_S` once it has lived on. One that is
    ``retired`` has been found without a usable server, and is not found again. ``kept`` as a
    connection's.
    """

    __slots__ = (
        "assured",
        "controlled",
        "due",
        "expires",
        "kept",
        "key",
        "retired",
        "server",
        "timeout",
    )

    def __init__(self, key: TemplateKey, server: RealServer, timeout: float) -> None:
        self.key = key
        self.server = server
        self.timeout = timeout
        self.expires = 0.0
        self.due = 0
        self.kept = 0
        self.controlled = 0
        self.assured = False
        self.retired = False
