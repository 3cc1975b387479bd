"""``type = "dns"``: the server answers a question over UDP (RFC 1035).

Asked is for ``record`` of ``query``: NS of the root, which every resolver knows. A server that is
authoritative for some zones only should be asked for one of them, such as ``query = "example.org"``
and ``record = "SOA"``; of others it says REFUSED.

The server is well if it says NOERROR or NXDOMAIN (the name does not exist, which it has to know
somehow), or what ``rcode`` says; and if ``answer``, a regular expression, is found in one of the
records of the answer, as a zone file has them: ``example.org. 300 IN A 192.0.2.1``.

One question, not repeated: that datagrams are lost is what ``fall`` is for.
"""

from __future__ import annotations

import struct
from secrets import randbits
from typing import TYPE_CHECKING, Any, ClassVar, Final

import dns.exception
import dns.message
import dns.name
import dns.rcode

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.datagrams import Datagrams
from lvsd.health.checks.talk import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from re import Pattern

    from lvsd.health.base import Target

RECORDS: Final = (
    *("A", "AAAA", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR"),
    *("NS", "PTR", "SOA", "SRV", "SVCB", "TXT"),
)
RCODES: Final = ("NOERROR", "NXDOMAIN", "REFUSED", "NOTAUTH", "SERVFAIL", "NOTIMP")
GOOD: Final = frozenset({"NOERROR", "NXDOMAIN"})


class Dns(Check):
    """Asks one question."""

    name = "dns"
    options: ClassVar[tuple[Option, ...]] = (
        Option("query", Kind.TEXT, "a name such as example.org", "."),
        Option("record", Kind.CHOICE, "a type of record", None, RECORDS),
        Option("rcode", Kind.CHOICE, "what the server has to say", None, RCODES),
        Option("answer", Kind.PATTERN, "a regular expression that is to be found in a record"),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        try:
            name = dns.name.from_text(values["query"])
        except (dns.exception.DNSException, UnicodeError) as error:
            raise ValueError(f"query is no name: {error}") from error
        record = values["record"] or ("NS" if name == dns.name.root else "A")
        self._query = dns.message.make_query(name, record, id=0)
        self._wire = self._query.to_wire()[2:]
        self._good = frozenset({values["rcode"]}) if values["rcode"] else GOOD
        self._answer: Pattern[str] | None = values["answer"]

    async def probe(self, target: Target) -> str:
        """Return the rcode and the number of records. Raise UnhealthyError, OSError."""
        number = struct.pack("!H", randbits(16))
        with Datagrams(target) as server:
            server.send(number + self._wire)
            while True:
                data = await server.receive()
                if data[:2] == number:
                    return self._judged(self._read(data))

    def _read(self, data: bytes) -> dns.message.Message:
        try:
            answer = dns.message.from_wire(b"\0\0" + data[2:], ignore_trailing=True)
        except Exception as error:
            why = quoted(f"{type(error).__name__}: {error}")
            raise UnhealthyError(f"an answer that cannot be read: {why}") from error
        if not self._query.is_response(answer):
            raise UnhealthyError("an answer to another question")
        return answer

    def _judged(self, answer: dns.message.Message) -> str:
        said = dns.rcode.to_text(answer.rcode())
        if said not in self._good:
            raise UnhealthyError(f"{said}, expected {' or '.join(sorted(self._good))}")
        records = [line for each in answer.answer for line in each.to_text().splitlines()]
        if self._answer is not None and not any(map(self._answer.search, records)):
            raise UnhealthyError(f"{said}, but the answer lacks {self._answer.pattern!r}")
        return f"{said}, {len(records)} record{'s' * (len(records) != 1)}"
