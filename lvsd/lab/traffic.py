"""Real HTTP requests from a host of the lab."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from lvsd.lab.namespace import Namespace

TIMEOUT_S = 5.0 * PATIENCE


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request.

    ``server`` is the real server's name and ``seen`` the client's address, both in the server's
    own words; ``source`` is the address that the request was sent from. ``latency_s`` runs from
    the SYN to the last byte.
    """

    server: str
    seen: str
    source: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection on which a request was answered; open until `close`."""

    http: http.client.HTTPConnection
    answer: Answer

    def ask_again(self) -> str:
        """Ask for ``/`` once more; return the server. Raise OSError or HTTPException."""
        self.http.request("GET", "/")
        return self.http.getresponse().read().decode("ascii", "replace").split()[0]

    def close(self) -> None:
        """Send the FIN."""
        self.http.close()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody in ``namespace`` who visits the web site at ``vip``."""

    namespace: Namespace
    vip: str
    port: int = 80

    def open(self, source: str) -> Connection:
        """Connect from the address ``source``, ask for ``/`` and keep the connection open.

        Raise KernelError when there is no right answer.
        """
        site = http.client.HTTPConnection(
            self.vip, self.port, timeout=TIMEOUT_S, source_address=(source, 0)
        )
        start = time.perf_counter()
        try:
            with self.namespace.entered():
                site.connect()
            site.request("GET", "/")
            response = site.getresponse()
            body = response.read().decode("ascii", "replace").split()
        except (OSError, http.client.HTTPException) as error:
            site.close()
            raise self._failure(source, repr(error)) from error
        latency_s = time.perf_counter() - start
        if response.status != http.HTTPStatus.OK or len(body) != 2:
            site.close()
            raise self._failure(source, f"the answer was {response.status} {body}")
        server, seen = body
        return Connection(site, Answer(server, seen, source, latency_s))

    def get(self, source: str) -> Answer:
        """Ask for ``/`` on a connection of its own. Raise KernelError as `open` does."""
        connection = self.open(source)
        connection.close()
        return connection.answer

    def _failure(self, source: str, reason: str) -> KernelError:
        return KernelError(
            f"request from {source} to {self.vip} port {self.port}", reason, "see the daemon's log"
        )
