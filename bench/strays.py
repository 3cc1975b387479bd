"""Requests beside packets that belong to nobody: what a router that sends them back would cost.

    python -m bench.strays [--rate 1000] [--seconds 4]

The client is the director's router, too: what the director forwards to a VIP comes back. Beside
32 keep-alive connections (wrk) a stranger sends ICMP errors about no connection to the VIP, with a
TTL of 255. Prints requests/s without them, and with them.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from scapy.layers.inet import ICMP, IP
from scapy.packet import Raw

from bench.end_to_end import WEB, requests_per_s
from lvsd.lab import Lab, programs, settings
from lvsd.lab.director import lvsd

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = "203.0.113.5"
TICKS_PER_S = 100


@contextlib.contextmanager
def strays(lab: Lab, rate: int) -> Iterator[None]:
    """Send so many ICMP errors a second to the VIP while the block runs."""
    error = IP(src=STRANGER, dst=lab.vip.v4, ttl=255) / ICMP(type=3, code=1) / Raw(b"xxxx")
    packet, stop = bytes(error), threading.Event()
    with lab.client.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send() -> None:
        begin, sent = time.monotonic(), 0
        while not stop.wait(1 / TICKS_PER_S):
            while sent < (time.monotonic() - begin) * rate:
                sock.sendto(packet, (lab.vip.v4, 0))
                sent += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with sock:
            yield
            stop.set()
            sender.join()
    finally:
        stop.set()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000, help="ICMP errors a second")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    options = parser.parse_args()
    with Lab(name="lvsd-bench", servers=1) as lab:
        programs.nginx(lab.servers[0])
        lab.client.sysctl("net.ipv4.ip_forward", "1")
        lab.director.ip(f"route add default via {lab.client.addresses.v4}")
        server = settings.RealServer(f"{lab.servers[0].addresses.v4}:{WEB}")
        web = settings.Service("web", f"{lab.vip.v4}:{WEB}", (server,), scheduler="rr")
        lvsd(lab.director, settings.toml([web], lab.director.directory / "lvsd.sock"))
        before = requests_per_s(lab.client, lab.vip.v4, WEB, options.seconds)
        with strays(lab, options.rate):
            beside = requests_per_s(lab.client, lab.vip.v4, WEB, options.seconds)
    print(f"{before:,.0f} requests/s; beside {options.rate:,} strays a second {beside:,.0f}")


if __name__ == "__main__":
    main()
