"""Directors, and the packets that they expect.

`CONNECTIONS` clients ask one virtual service. What other modes than NAT send by a socket is made,
not sent; DR and TUN see no replies.
"""

from __future__ import annotations

from functools import cache
from typing import Final, TypeAlias

from bench.packets import ADDRESSES_AT, ENDS, L4, MTU, RPORT, VPORT, build
from forwarders import FORWARDERS
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.local_pool import LocalPool
from lvsd.core.path import leave, path_to
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.verdict import Hook, Verdict
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.view import ICMP, ICMPV6, SCTP, TCP

CONNECTIONS: Final = 10_000
SIZE: Final = 100
NOW: Final = 1000.0
SYN_OPTIONS: Final = bytes.fromhex("020405b40402080a00112233000000000103030a")
"""What Linux puts on a SYN: MSS, SACK permitted, timestamps, a NOP, window scale."""

Load: TypeAlias = list[tuple[bytes, Hook]]
"""Packets and the hooks that they come from."""


def world(
    version: int, protocol: int, servers: int, scheduler: str = "wlc", mode: str = "nat"
) -> Balancer:
    """Return a director with one service, its paths compiled."""
    balancer = Balancer(make_scheduler, now=NOW)
    _, vip, rip = ENDS[version]
    local = bytes((*rip[:-1], 254))
    key = ServiceKey(protocol, vip, VPORT, family=version)
    service = ServiceConfig(key, scheduler, local=LocalPool((local,)))
    forwarder = FORWARDERS[mode]()
    rport = RPORT if forwarder.maps_port else VPORT
    weight = CONNECTIONS if scheduler == "ovf" else 1  # ovf has room for its weight only
    balancer.apply([AddService(service)], NOW)
    first = int.from_bytes(rip, "big")
    for number in range(servers):
        address = (first + number).to_bytes(len(rip), "big")
        wanted = ServerConfig(address, rport, forwarder, weight)
        balancer.apply([AddServer(key, wanted)], NOW)
        server = balancer.services.get(key).find(*wanted.place)
        server.set_way(Way(MTU, local))
        if not forwarder.per_connection:
            leave(path_to(server, balancer.flows.timeouts.protocols[protocol], (vip, VPORT), rport))
    return balancer


@cache
def requests(version: int, protocol: int, *, opens: bool) -> list[bytes]:
    """Return a packet of each of `CONNECTIONS` clients; its transport checksum is not right."""
    l4 = L4[version]
    packet = bytearray(build(version, protocol, SIZE))
    if protocol == TCP and opens:
        packet = bytearray(build(version, protocol, l4 + 20 + len(SYN_OPTIONS)))
        packet[l4 + 12 : l4 + 14] = b"\xa0\x02"
        packet[l4 + 20 :] = SYN_OPTIONS
    if protocol == SCTP:
        packet[l4 + 12] = 1 if opens else 0
    width = 4 if version == 4 else 16
    client_at = ADDRESSES_AT[version] + width - 2
    made = []
    for number in range(CONNECTIONS):
        packet[client_at : client_at + 2] = (number >> 4).to_bytes(2, "big")
        packet[l4 : l4 + 2] = (40000 + number % 16).to_bytes(2, "big")
        made.append(bytes(packet))
    return made


def reply(request: bytes) -> bytes:
    """Return a packet with its ends exchanged."""
    version = request[0] >> 4
    start, l4 = ADDRESSES_AT[version], L4[version]
    width = 4 if version == 4 else 16
    middle, end = start + width, start + 2 * width
    return b"".join(
        (
            request[:start],
            request[middle:end],
            request[start:middle],
            request[end:l4],
            request[l4 + 2 : l4 + 4],
            request[l4 : l4 + 2],
            request[l4 + 4 :],
        )
    )


def established(
    version: int, protocol: int, servers: int, mode: str = "nat"
) -> tuple[Balancer, Load]:
    """Return a director with `CONNECTIONS` connections, and a request and a reply of each.

    FULLNAT's clients have been told to the server, and it knows.
    """
    balancer = world(version, protocol, servers, mode=mode)
    load: Load = []
    opening_ = requests(version, protocol, opens=True)
    following = requests(version, protocol, opens=False)
    for first, second in zip(opening_, following, strict=True):
        _forwarded(balancer, first)
        forwarded = _forwarded(balancer, second)
        load.append((second, Hook.PREROUTING))
        if mode in {"nat", "fullnat"}:
            answer = reply(forwarded)
            load.append((answer, Hook.FORWARD))
            balancer.handle(answer, Hook.FORWARD, 0, 1, NOW)
    balancer.outbox.departures.clear()
    return balancer, load


def _forwarded(balancer: Balancer, request: bytes) -> bytes:
    """Return what a request becomes. Raise TypeError if it is not forwarded."""
    outcome = balancer.handle(request, Hook.PREROUTING, 0, 1, NOW)
    if outcome is Verdict.TAKEN:
        outcome = balancer.outbox.departures[-1].data
        balancer.outbox.departures.clear()
    if not isinstance(outcome, bytes):
        raise TypeError(f"the director did not forward a request: {outcome}")
    return outcome


def icmp_errors(version: int, protocol: int, servers: int) -> tuple[Balancer, Load]:
    """Return the same director, and an ICMP error of each client about a reply."""
    balancer, load = established(version, protocol, servers)
    return balancer, [(_icmp_error(request), hook) for request, hook in load[::2]]


def _icmp_error(request: bytes) -> bytes:
    """Return the client's message that the reply to a request could not reach it."""
    version = request[0] >> 4
    header = bytearray(request[: L4[version]])
    if version == 4:
        message = bytearray((3, 1)) + bytes(6) + reply(request)
        header[2:4] = (len(header) + len(message)).to_bytes(2, "big")
        header[9] = ICMP
        carry = 0
    else:
        message = bytearray((1, 3)) + bytes(6) + reply(request)
        header[4:6] = len(message).to_bytes(2, "big")
        header[6] = ICMPV6
        carry = pseudo_header(request[8:24], request[24:40], ICMPV6, len(message))
    message[2:4] = checksum(message, carry).to_bytes(2, "big")
    return bytes(header + message)


def opening(
    version: int, protocol: int, servers: int, scheduler: str = "wlc", mode: str = "nat"
) -> tuple[Balancer, Load]:
    """Return a director without connections, and packets that open `CONNECTIONS`."""
    balancer = world(version, protocol, servers, scheduler, mode)
    return balancer, [
        (packet, Hook.PREROUTING) for packet in requests(version, protocol, opens=True)
    ]
