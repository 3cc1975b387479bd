"""A DNS server in a host of the lab, whose answers say who gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.lab.program import start, wait_for_port

if TYPE_CHECKING:
    from lvsd.lab.namespace import Namespace
    from lvsd.lab.program import Program

DNS_PORT = 53


def dnsmasq(namespace: Namespace, port: int = DNS_PORT) -> Program:
    """Start a DNS server for UDP and TCP.

    ``who.lab`` has a TXT record with the host's name, and A and AAAA records with its
    addresses: the answer says which server gave it. ``big.lab`` has 30 TXT records, too much
    for one UDP answer of 512 bytes.
    """
    host, addresses = namespace.host, namespace.addresses
    big = [f"--txt-record=big.lab,{host}-{number:02}-{'x' * 80}" for number in range(30)]
    program = start(
        namespace,
        [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file",
            "--log-facility=-",
            "--log-queries",
            "--edns-packet-max=4096",
            f"--port={port}",
            "--local-ttl=0",
            f"--txt-record=who.lab,{host}",
            f"--host-record=who.lab,{addresses.v4},{addresses.v6}",
            *big,
        ],
        "dnsmasq",
    )
    wait_for_port(program, port)  # UDP's socket is opened before TCP's
    return program
