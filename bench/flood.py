"""A flood of UDP on one service, and what becomes of TCP clients of another meanwhile.

`python -m bench.flood`: a lab of one client, one director and one real server. Datagrams from ever
other source ports and addresses fill a table of `ROOM` entries; before, during and after the flood
a client opens TCP connections through the director. Takes half a minute, and sends at most `RATE`
datagrams a second, inside namespaces.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING

from lvsd.lab.director import lvsd
from lvsd.lab.lab import Lab

if TYPE_CHECKING:
    from lvsd.lab.namespace import Namespace

ROOM = 20_000
RATE = 5_000
FLOOD_S = 10
CONNECTS = 50
WEB, DNS = 80, 53
PATIENCE_S = 0.5


def main() -> None:
    """Print how many of `CONNECTS` clients got through before, during and after the flood."""
    with Lab(servers=1) as lab:
        server, vip = lab.servers[0], lab.vip.v4
        with server.entered():
            web = socket.create_server(("", WEB), backlog=4096)
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sink.bind(("", DNS))
        services = "".join(
            f'[[service]]\nname = "{name}"\naddress = "{vip}:{port}"\nprotocol = "{protocol}"\n'
            f'[[service.server]]\naddress = "{server.addresses.v4}:{port}"\n'
            for name, port, protocol in (("web", WEB, "tcp"), ("dns", DNS, "udp"))
        )
        daemon = lvsd(lab.director, f"[daemon]\nmax_connections = {ROOM}\n{services}")
        print("before:", _connected(lab.client, vip), "of", CONNECTS)
        flood = threading.Thread(target=_flood, args=(lab.client, vip))
        flood.start()
        time.sleep(FLOOD_S * 0.6)
        print("during:", _connected(lab.client, vip), "of", CONNECTS)
        flood.join()
        print("after: ", _connected(lab.client, vip), "of", CONNECTS)
        daemon.stop()
        for line in daemon.log_file.read_text().splitlines():
            if "table" in (said := json.loads(line))["event"]:
                print(said)
        web.close()
        sink.close()


def _connected(client: Namespace, vip: str) -> int:
    """Return how many TCP connections were established in time, of `CONNECTS`."""
    done = 0
    with client.entered():
        for _ in range(CONNECTS):
            with socket.socket() as sock:
                sock.settimeout(PATIENCE_S)
                done += not sock.connect_ex((vip, WEB))
    return done


def _flood(client: Namespace, vip: str) -> None:
    """Send UDP without checksums from ever other ports and addresses, at `RATE`."""
    with client.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    begin, sent = time.monotonic(), 0
    with sock:
        while (passed := time.monotonic() - begin) < FLOOD_S:
            while sent < passed * RATE:
                sent += 1
                source = socket.inet_aton(f"198.18.{sent >> 14 & 255}.{sent >> 6 & 255}")
                port = 1024 + sent % 60_000
                header = b"\x45\0\0\x1d\0\0\x40\0\x40\x11\0\0" + source + socket.inet_aton(vip)
                datagram = port.to_bytes(2, "big") + DNS.to_bytes(2, "big") + b"\0\x09\0\0?"
                sock.sendto(header + datagram, (vip, 0))
            time.sleep(0.005)


if __name__ == "__main__":
    main()
