"""One HTTP request by a plain socket, and what the daemon's table says of it meanwhile."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lvsd.control.client import ControlClient
from lvsd.errors import KernelError
from lvsd.explain.making import CLIENT_PORT
from lvsd.explain.model import Entry
from lvsd.lab import modes, settings
from lvsd.lab.wait import PATIENCE, until

if TYPE_CHECKING:
    from lvsd.lab.director import Daemon
    from lvsd.lab.lab import Lab
    from lvsd.lab.modes import Family

TIMEOUT_S: Final = 5.0 * PATIENCE
RECEIVE_BYTES: Final = 65536


@dataclass
class Talk:
    """The client's part, and what the daemon's table says meanwhile."""

    lab: Lab
    daemon: Daemon
    family: Family
    entries: dict[str, Entry] = field(default_factory=dict)

    def run(self) -> None:
        """Connect, ask, read the answer, and close. Raise KernelError when nobody answers."""
        vip = modes.of(self.lab.vip, self.family)
        source = self._source
        try:
            with self.lab.client.entered():
                site = socket.create_connection(
                    (vip, modes.VIP_PORT), TIMEOUT_S, (source, CLIENT_PORT)
                )
            with site:
                self._note("ACK", "ESTABLISHED")
                host = settings.at(vip, modes.VIP_PORT)
                site.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                site.recv(RECEIVE_BYTES)
                self._note("HTTP reply", "ESTABLISHED")
                site.shutdown(socket.SHUT_WR)
                while site.recv(RECEIVE_BYTES):
                    pass
                self._note("FIN from the real server")
        except OSError as error:
            raise KernelError(
                f"request to {vip} port {modes.VIP_PORT}", error, f"it said: {self.daemon.log}"
            ) from error

    @property
    def _source(self) -> str:
        return modes.of(self.lab.client.addresses, self.family)

    def _note(self, title: str, state: str = "") -> None:
        """Remember the connection's entry; a state may take a moment to come about."""

        def entered() -> bool:
            entry = self._entry()
            if entry is not None:
                self.entries[title] = entry
            return entry is not None and state in {"", entry.state}

        until(entered, TIMEOUT_S)

    def _entry(self) -> Entry | None:
        """Ask the daemon."""
        with ControlClient(self.daemon.control) as client:
            rows = list(client.items("connections"))
            counts = [server for each in client.items("list") for server in each["servers"]]
        for row in rows:
            if (row["client"], row["client_port"]) == (self._source, CLIENT_PORT):
                end = (row["server"], row["server_port"])
                server = next(each for each in counts if (each["address"], each["port"]) == end)
                return _entry_of(row, server)
        return None


def _entry_of(row: dict[str, Any], server: dict[str, Any]) -> Entry:
    """Return what the daemon says of a connection and its real server."""
    return Entry(
        row["protocol"].upper(),
        row["state"],
        row["expires_s"],
        settings.at(row["client"], row["client_port"]),
        settings.at(row["virtual"], row["virtual_port"]),
        settings.at(row["server"], row["server_port"]),
        settings.at(row["local"], row["local_port"]) if row["local"] else None,
        server["active"],
        server["inactive"],
    )
