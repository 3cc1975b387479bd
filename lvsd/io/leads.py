"""How frames get to a real server of direct routing: what the supervisor tells the engine."""

from __future__ import annotations

from typing import NamedTuple


class Lead(NamedTuple):
    """The link that a real server is on, and its MAC as far as the kernel knows it.

    With a ``problem``, which says why no frame can be sent there, the rest means nothing.
    """

    interface: int = 0
    """Its index."""
    name: str = ""
    own_mac: bytes = b""
    """The interface's, the source of frames."""
    mtu: int = 0
    """Longest packet in bytes."""
    mac: bytes | None = None
    """The real server's; None while the kernel knows none."""
    problem: str | None = None
