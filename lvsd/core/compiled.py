"""What a real server knows of what was compiled for its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from forwarders.base import Forwarder


class Compiled(Protocol):
    """What is made for the connections to a real server, and changes with it (`lvsd.core.path`).

    ``users`` is how many connections it has, ``forwarder`` how it forwards them now.
    """

    users: int

    @property
    def forwarder(self) -> Forwarder: ...  # noqa: D102

    def retime(self) -> None:
        """Take the timeouts as they are now."""

    def compile(self) -> None:
        """Make the rewriters anew; raises what a forwarder raises."""

    def bind(self) -> None:
        """Count for the server and its service from now on."""

    def unbind(self) -> None:
        """Count for nobody."""
