"""End to end in the lab: direct, lvsd, HAProxy (TCP mode) and nginx stream, in turns.

One client (wrk, iperf3), one director, one real server (nginx, iperf3), 32 connections. The
machine drifts, so each round measures all ways one after another, and the ratios are those of the
medians. All processes share the machine's cores: the figures compare ways, they are no limits.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from bench.report import Section, count
from lvsd.lab import programs, settings
from lvsd.lab.director import lvsd
from lvsd.lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvsd.lab.namespace import Namespace

Samples: TypeAlias = "dict[tuple[str, str], list[float]]"
"""What was measured, by measure and way."""

ROUNDS = 5
SECONDS = 2
CONNECTIONS = 32
COMMAND = "python -m bench end-to-end"

HAPROXY = "HAProxy, TCP mode"
WEB, DIRECT_WEB, STREAM, DIRECT_STREAM = 80, 8080, 5201, 5202
HAPROXY_WEB, HAPROXY_STREAM, NGINX_WEB, NGINX_STREAM = 8881, 8882, 8891, 8892


@dataclass(frozen=True, slots=True)
class Way:
    """A way from the client to the real server: where a browser and where iperf3 connect to."""

    name: str
    address: str
    web: int
    stream: int


@dataclass(frozen=True, slots=True)
class Measure:
    """Something measured of a way; more is better."""

    name: str
    take: Callable[[Namespace, Way], float]
    text: Callable[[float], str]


def keep_alive(client: Namespace, way: Way) -> float:
    """Return HTTP requests per second over connections that stay open."""
    return requests_per_s(client, way.address, way.web)


def per_connection(client: Namespace, way: Way) -> float:
    """Return HTTP requests per second with a TCP connection each."""
    return requests_per_s(client, way.address, way.web, options=("-H", "Connection: close"))


def stream(client: Namespace, way: Way) -> float:
    """Return Gbit/s of one TCP stream to the real server."""
    output = client.run(
        ["iperf3", "-J", "-t", str(SECONDS), "-c", way.address, "-p", str(way.stream)]
    ).stdout
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 1e9


MEASURES = (
    Measure("requests/s, keep-alive", keep_alive, count),
    Measure("requests/s, one per connection", per_connection, count),
    Measure("one TCP stream, Gbit/s", stream, lambda value: f"{value:.2f}"),
)


def tables(rounds: int = ROUNDS, progress: Callable[[str], None] = print) -> list[Section]:
    """Measure everything and return the table; about two minutes for five rounds."""
    with Lab(servers=1) as lab:
        ways = _start(lab)
        samples = sampled(lab.client, ways, rounds, progress)
    name, title = "end-to-end", "End to end in the lab"
    return [compared(name, title, COMMAND, ways, samples, peer=HAPROXY)]


def sampled(
    client: Namespace, ways: Sequence[Way], rounds: int, progress: Callable[[str], None]
) -> Samples:
    """Take every measure of every way, in turns."""
    samples: Samples = {}
    for number in range(rounds):
        for measure in MEASURES:
            progress(f"end to end: round {number + 1} of {rounds}, {measure.name}")
            for way in ways:
                value = measure.take(client, way)
                samples.setdefault((measure.name, way.name), []).append(value)
    return samples


def widen_ports(client: Namespace) -> None:
    """Let one client address open more than 28,000 connections a minute."""
    client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
    client.sysctl("net.ipv4.tcp_tw_reuse", "1")


def _start(lab: Lab) -> Sequence[Way]:
    widen_ports(lab.client)
    server = lab.servers[0]
    programs.nginx(server, [WEB, DIRECT_WEB])
    for port in (STREAM, DIRECT_STREAM):
        programs.iperf3(server, port)
    rip, vip = server.addresses.v4, lab.vip.v4
    front = lab.director.interface("front").v4
    programs.haproxy(lab.director, HAPROXY_WEB, [f"{rip}:{WEB}"])
    programs.haproxy(lab.director, HAPROXY_STREAM, [f"{rip}:{STREAM}"])
    programs.nginx_stream(lab.director, NGINX_WEB, [f"{rip}:{WEB}"])
    programs.nginx_stream(lab.director, NGINX_STREAM, [f"{rip}:{STREAM}"])
    services = [
        settings.Service(f"port-{port}", f"{vip}:{port}", (settings.RealServer(f"{rip}:{port}"),))
        for port in (WEB, STREAM)
    ]
    lvsd(lab.director, settings.toml(services, lab.director.directory / "lvsd.sock"))
    return (
        Way("direct", rip, DIRECT_WEB, DIRECT_STREAM),
        Way("lvsd", vip, WEB, STREAM),
        Way(HAPROXY, front, HAPROXY_WEB, HAPROXY_STREAM),
        Way("nginx stream", front, NGINX_WEB, NGINX_STREAM),
    )


def requests_per_s(
    client: Namespace, address: str, port: int, seconds: int = SECONDS, options: Sequence[str] = ()
) -> float:
    """Return what wrk gets through by `CONNECTIONS` connections. Raise RuntimeError."""
    url = f"http://{address}:{port}/"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", *options, url]
    output = client.run(command).stdout
    match = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if match is None or "Socket errors" in output:
        raise RuntimeError(f"{url}: {output}")
    return float(match[1])


def compared(
    name: str, title: str, command: str, ways: Sequence[Way], samples: Samples, peer: str
) -> Section:
    """Return the medians, each also as its ratio to a peer's."""
    rows = []
    for way in ways:
        row = [way.name]
        for measure in MEASURES:
            value = median(samples[measure.name, way.name])
            row += [measure.text(value), f"{value / median(samples[measure.name, peer]):.2f}"]
        rows.append(row)
    columns = ["way"]
    for measure in MEASURES:
        columns += [measure.name, f"of {peer.partition(',')[0]}"]
    return Section(title, columns, rows, name=name, command=command)
