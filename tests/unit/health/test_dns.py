"""``type = "dns"``: one question, and what the answer has to be."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from lvsd.health.base import Target, UnhealthyError
from lvsd.health.checks.datagrams import MOST
from lvsd.lab.wait import until
from tests.unit.health.servers import check, free_port, replied

if TYPE_CHECKING:
    from collections.abc import Callable


def server(rcode: str = "NOERROR", *records: str) -> Callable[[bytes], list[bytes]]:
    """Return a server that says this, with these records."""

    def answer(data: bytes) -> list[bytes]:
        said = dns.message.make_response(dns.message.from_wire(data))
        said.set_rcode(dns.rcode.from_text(rcode))
        for each in records:
            name, ttl, of_class, record, text = each.split(" ", 4)
            said.answer.append(dns.rrset.from_text(name, int(ttl), of_class, record, text))
        return [said.to_wire()]

    return answer


HERE = "shop.example. 300 IN A 192.0.2.7"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_answer_is_well(address: str) -> None:
    asked = check("dns", query="shop.example", answer=re.compile(r"A 192\.0\.2\.7$"))
    assert replied(asked, server("NOERROR", HERE), address) == "NOERROR, 1 record"


def test_what_is_asked_for_is_as_configured() -> None:
    heard: list[str] = []

    def note(data: bytes) -> list[bytes]:
        heard.append(dns.message.from_wire(data).question[0].to_text())
        return server()(data)

    for values in ({}, {"query": "a.example"}, {"query": "a.example.", "record": "SOA"}):
        replied(check("dns", **values), note)
    assert heard == [". IN NS", "a.example. IN A", "a.example. IN SOA"]


def test_that_a_name_does_not_exist_is_an_answer() -> None:
    assert replied(check("dns", query="x.example"), server("NXDOMAIN")) == "NXDOMAIN, 0 records"


def test_another_rcode_is_not_well() -> None:
    with pytest.raises(UnhealthyError, match=r"^SERVFAIL, expected NOERROR or NXDOMAIN$"):
        replied(check("dns"), server("SERVFAIL"))
    with pytest.raises(UnhealthyError, match=r"^NXDOMAIN, expected NOERROR$"):
        replied(check("dns", rcode="NOERROR"), server("NXDOMAIN"))
    assert replied(check("dns", rcode="REFUSED"), server("REFUSED")) == "REFUSED, 0 records"


def test_an_answer_without_what_is_looked_for_is_not_well() -> None:
    asked = check("dns", query="shop.example", answer=re.compile("192.0.2.8"))
    with pytest.raises(UnhealthyError, match=r"^NOERROR, but the answer lacks '192.0.2.8'$"):
        replied(asked, server("NOERROR", HERE))


def test_what_answers_another_question_is_not_taken() -> None:
    def other_number(data: bytes) -> list[bytes]:
        (answer,) = server("SERVFAIL")(data)
        return [bytes([answer[0] ^ 1]) + answer[1:], *server()(data)]

    def other_name(data: bytes) -> list[bytes]:
        return server()(data[:2] + dns.message.make_query("b.example", "A").to_wire()[2:])

    assert replied(check("dns"), other_number) == "NOERROR, 0 records"
    with pytest.raises(UnhealthyError, match=r"^an answer to another question$"):
        replied(check("dns"), other_name)
    with pytest.raises(UnhealthyError, match=r"^an answer to another question$"):
        replied(check("dns"), lambda data: [data])


def test_garbage_is_told_and_a_flood_is_given_up() -> None:
    with pytest.raises(UnhealthyError, match=r"^an answer that cannot be read: "):
        replied(check("dns"), lambda data: [data[:2] + b"\xff" * 40])
    with pytest.raises(UnhealthyError, match=rf"^{MOST} datagrams, and no answer among them$"):
        replied(check("dns"), lambda _data: [b"x"] * (MOST + 1))


def test_a_closed_port_is_not_well() -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(check("dns").probe(Target("127.0.0.1", free_port(socket.SOCK_DGRAM))))


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^query is no name: "):
        check("dns", query="a..b")


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq: apt install dnsmasq-base")
def test_dnsmasq_is_well() -> None:
    port = free_port(socket.SOCK_DGRAM)
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
    command += ["--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1"]
    command += [f"--port={port}", "--address=/shop.example/192.0.2.7", "--user=", "--group="]
    asked = check("dns", query="shop.example", answer=re.compile(r"192\.0\.2\.7"))

    def is_there() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            return asyncio.run(asked.probe(Target("127.0.0.1", port))) == "NOERROR, 1 record"
        return False

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as program:
        try:
            assert until(is_there)
            with pytest.raises(UnhealthyError, match=r"^REFUSED, expected NOERROR or NXDOMAIN$"):
                asyncio.run(check("dns").probe(Target("127.0.0.1", port)))
        finally:
            program.terminate()
