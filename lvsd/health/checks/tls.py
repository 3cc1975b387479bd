"""What the checks over TLS have in common: their keys, and what is made of them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from lvsd.health.base import Kind, Option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lvsd.health.base import Target

OPTIONS: Final = (
    Option("tls_verify", Kind.SWITCH, "whether the certificate has to be good", True),
    Option("sni", Kind.TEXT, "the name that the server is asked for"),
    Option("ca_file", Kind.FILE, "certificates that are trusted, in PEM"),
    Option("client_certificate", Kind.FILE, "a certificate in PEM, for servers that want one"),
    Option("client_key", Kind.FILE, "its key, where that is in another file"),
)


class Tls:
    """How to speak TLS, by the values of `OPTIONS` and of ``host``. Raise ValueError.

    ``context`` has the certificates; they are read once.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.context = _context(values)
        self._name = values["sni"] or _without_port(values["host"])
        if self._name:
            try:
                self.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=self._name)
            except ValueError as error:
                raise ValueError(f"sni cannot be {self._name!r}: {error}") from error

    def server_name(self, target: Target) -> str:
        """Return whom the certificate has to be for: ``sni``, ``host``, or else the address."""
        return self._name or target.address


def _context(values: Mapping[str, Any]) -> ssl.SSLContext:
    certificate: Path | None = values["client_certificate"]
    if values["client_key"] and not certificate:
        raise ValueError("client_key needs client_certificate")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if values["ca_file"] is not None:
            context.load_verify_locations(values["ca_file"])
        elif values["tls_verify"]:
            context.load_default_certs()
        if certificate is not None:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, values["client_key"], password="")
    except OSError as error:
        raise ValueError(f"its certificates cannot be used: {error}") from error
    if not values["tls_verify"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _without_port(host: str | None) -> str:
    return "" if not host or host.startswith("[") else host.partition(":")[0]
