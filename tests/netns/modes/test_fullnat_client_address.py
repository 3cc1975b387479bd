"""Who the client is, as unmodified programs behind FULLNAT see it: by TOA and by PROXY v2."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import sys
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab, program, programs, real_server
from lvsd.lab.wait import until
from tests.netns.modes.site import MAPPED, forwarded, locals_of, lossy, sha256
from tests.netns.realserver.toa_site import groups
from tests.netns.traffic.site import PATIENCE_S, endpoints, running
from tests.netns.traffic.sockets import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.lab import Namespace
    from tests.netns.traffic.site import Family, Site

PLAIN, NGINX, HTTP_SERVER, GREETER, PROXIED, PROXIED_GREETER = 80, 81, 82, 83, 84, 85
"""Services: nginx without a reader; nginx, http.server and `GREETING` with one; PROXY v2."""

RPORTS = {
    PLAIN: MAPPED,
    NGINX: MAPPED,
    HTTP_SERVER: 8000,
    GREETER: 7000,
    PROXIED: 8443,
    PROXIED_GREETER: 7001,
}

GET = b"GET / HTTP/1.0\r\n\r\n"

GREETING = """
import socket
with socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
    while True:
        connection, accepted = listener.accept()
        with connection:
            peer = connection.getpeername()
            connection.sendall(f"{accepted[:2]} {peer[:2]}".encode())
"""
"""A server that speaks first and knows nothing of TOA."""

NGINX_CONF = """
daemon off;
user root;
worker_processes 1;
pid DIR/proxied.pid;
events {}
http {
    log_format proxied '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr '
                       '$proxy_protocol_server_port "$request" $status';
    access_log DIR/proxied.log proxied;
    client_body_temp_path DIR/proxied_body;
    client_max_body_size 1g;
    server {
        listen 8443 proxy_protocol;
        listen [::]:8443 proxy_protocol;
        location = / { return 200 "you are $proxy_protocol_addr\\n"; }
        location = /file { alias FILE; }
        location /upload/ { root DIR; dav_methods PUT; }
    }
}
"""

PROXY_HEADER = struct.Struct("!12sBBH")
"""Signature, version and command, family and protocol, length of the rest (section 2.2)."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Start the programs: without a reader on one server, with one, and with PROXY v2."""
    with Lab(name="lvsd-modes", ways=["fullnat"] * 3) as lab, contextlib.ExitStack() as stack:
        plain, reading, proxied = lab.servers
        by_toa = real_server.reading_toa(lab.local_addresses)
        programs.nginx(plain, ports=[MAPPED])
        programs.nginx(reading, ports=[MAPPED], under=by_toa)
        http_server = [sys.executable, "-u", "-m", "http.server", "8000", "--bind", "::"]
        http_server += ["-d", str(reading.directory / "upload")]
        started = program.start(reading, [*by_toa, *http_server], "http.server")
        program.wait_for_port(started, 8000)
        stack.enter_context(greeting(reading, lab))
        proxy_nginx(proxied)
        stack.enter_context(proxy_greeter(proxied))
        told = {PROXIED, PROXIED_GREETER}
        hosts = {PLAIN: plain} | dict.fromkeys(told, proxied)
        tables = [
            forwarded(
                lab,
                "fullnat",
                port,
                servers=[hosts.get(port, reading)],
                rport=rport,
                client_address="proxy-v2" if port in told else "toa",
            )
            for port, rport in RPORTS.items()
        ]
        yield stack.enter_context(running(lab, *tables))


@contextlib.contextmanager
def greeting(host: Namespace, lab: Lab) -> Iterator[None]:
    """Run `GREETING` in a cgroup for which TOA is up."""
    toa = [sys.executable, "-m", "lvsd", "realserver", "toa"]
    trusted = ",".join(text for pair in lab.local_addresses for text in (pair.v4, pair.v6))
    with groups(1) as (group,):
        host.run([*toa, "up", "--from", trusted, "--cgroup", group.name])
        enter = ["sh", "-c", f'echo $$ >{group.procs}; exec "$@"', "sh"]
        server = program.start(host, [*enter, sys.executable, "-c", GREETING], "greeting")
        try:
            program.wait_for_port(server, 7000)
            yield
        finally:
            server.stop()
            host.run([*toa, "down", "--cgroup", group.name])


def proxy_nginx(host: Namespace) -> None:
    """Start an nginx that wants the PROXY protocol."""
    config = host.directory / "proxied.conf"
    text = NGINX_CONF.replace("DIR", str(host.directory))
    config.write_text(text.replace("FILE", str(programs.payload(host))), "utf-8")
    (host.directory / "upload").mkdir()
    argv: list[str | Path] = ["nginx", "-e", "stderr", "-p", host.directory, "-c", config]
    program.wait_for_port(program.start(host, argv, "proxied"), 8443)


@contextlib.contextmanager
def proxy_greeter(host: Namespace) -> Iterator[None]:
    """Run a server that reads a PROXY header, then speaks first: says what was in it."""
    ours, its = socket.socketpair()
    with ours, its, opened(host, "v6", socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 7001))
        listener.listen()
        thread = threading.Thread(target=greet_proxied, args=(listener, its))
        thread.start()
        try:
            yield
        finally:
            ours.send(b"stop")
            thread.join()


def greet_proxied(listener: socket.socket, stop: socket.socket) -> None:
    while stop not in select.select([listener, stop], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            start = connection.recv(PROXY_HEADER.size, socket.MSG_WAITALL)
            length = PROXY_HEADER.unpack(start)[3]
            rest = connection.recv(length, socket.MSG_WAITALL)
            width = (length - 4) // 2
            source, destination = rest[:width], rest[width : 2 * width]
            ports = struct.unpack("!HH", rest[2 * width :])
            ends = f"{ip_address(source)} {ports[0]} {ip_address(destination)} {ports[1]}"
            connection.sendall(ends.encode())
            connection.sendall(b" " + connection.recv(100))


def ask(site: Site, family: Family, port: int, what: bytes) -> tuple[str, int, str]:
    """Send something, if anything; return the client's address and port, and the whole answer."""
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        sock.bind((site.source(family, 5), 0))
        sock.connect((site.vip(family), port))
        sock.sendall(what)
        answer = b"".join(iter(lambda: sock.recv(4096), b"")).decode()
        address, cport, *_ = sock.getsockname()
        return address, cport, answer


def last_line(log: Path, pattern: str) -> re.Match[str]:
    """Return the last line of a log once it matches."""

    def found() -> re.Match[str] | None:
        return re.fullmatch(pattern, log.read_text().rstrip("\n").rpartition("\n")[2])

    assert until(lambda: found() is not None), log.read_text()
    match = found()
    assert match is not None
    return match


def test_without_a_reader_the_server_sees_the_director(site: Site, family: Family) -> None:
    _, _, answer = ask(site, family, PLAIN, GET)

    seen = answer.split()[-1]
    assert seen in locals_of(site.lab, family)
    last_line(site.lab.servers[0].directory / "access.log", rf"{re.escape(seen)} \d+ .*")


def test_the_access_log_of_nginx_names_the_client(site: Site, family: Family) -> None:
    address, port, answer = ask(site, family, NGINX, GET)

    assert answer.split()[-2:] == ["server2", address]
    whole = rf'{re.escape(address)} {port} "GET / HTTP/1.0" 200 \d+'
    last_line(site.lab.servers[1].directory / "access.log", whole)


def test_pythons_http_server_logs_the_client(site: Site, family: Family) -> None:
    address, _, answer = ask(site, family, HTTP_SERVER, GET)

    assert answer.startswith("HTTP/1.0 200 OK")
    seen = re.escape(f"::ffff:{address}" if family == "v4" else address)
    last_line(site.lab.servers[1].directory / "http.server.log", rf'{seen} - - .*"GET / .*')


def test_accept_and_getpeername_tell_the_client_to_a_server_that_speaks_first(
    site: Site, family: Family
) -> None:
    address, port, answer = ask(site, family, GREETER, b"")

    seen = (f"::ffff:{address}" if family == "v4" else address, port)
    assert answer == f"{seen} {seen}"


def test_nginx_logs_the_client_of_the_proxy_protocol(site: Site, family: Family) -> None:
    address, port, answer = ask(site, family, PROXIED, GET)

    assert answer.split()[-1] == address
    ends = f"{address} {port} {site.vip(family)} {PROXIED}"
    log = site.lab.servers[2].directory / "proxied.log"
    last_line(log, rf'{re.escape(ends)} "GET / HTTP/1.0" 200')


@pytest.mark.parametrize("loss_percent", [0, 3])
def test_twenty_megabytes_go_up_and_down_behind_a_proxy_header(
    site: Site, family: Family, loss_percent: int
) -> None:
    client = site.lab.client
    sent = programs.payload(client)
    down = client.directory / "down"
    upload, page = (site.url(family, PROXIED, path) for path in (f"/upload/{family}", "/file"))

    with lossy(site.lab.router, loss_percent):
        client.run(["curl", "-sS", "--fail", "-T", sent, upload])
        client.run(["curl", "-sS", "--fail", "-o", down, page])

    assert sha256(programs.uploaded(site.lab.servers[2], family)) == sha256(sent)
    assert sha256(down) == sha256(sent)


def test_a_server_that_speaks_first_has_the_proxy_header_before(site: Site, family: Family) -> None:
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        sock.connect((site.vip(family), PROXIED_GREETER))
        address, port, *_ = sock.getsockname()
        expected = f"{address} {port} {site.vip(family)} {PROXIED_GREETER}".encode()
        greeting = sock.recv(len(expected), socket.MSG_WAITALL)
        sock.sendall(b"and now the client")
        rest = b"".join(iter(lambda: sock.recv(100), b""))

    assert (greeting, rest) == (expected, b" and now the client")


def test_what_was_told_is_counted(site: Site, family: Family) -> None:
    before = site.call("status")["groups"]["client_address"]

    ask(site, family, GREETER, b"")

    after = site.call("status")["groups"]["client_address"]
    assert after["told"] > before["told"]
    assert (after["no_room"], after["forged"]) == (before["no_room"], before["forged"])


def test_connections_are_listed_with_the_clients_ends(site: Site, family: Family) -> None:
    with opened(site.lab.client, family, socket.SOCK_STREAM) as sock:
        sock.connect((site.vip(family), PROXIED))
        address, port, *_ = sock.getsockname()
        [entry] = [each for each in site.connections if each["client_port"] == port]

    assert entry["client"] == address
    [server] = endpoints(site.lab.servers[2:], family, 8443)
    assert server.rpartition(":")[0].strip("[]") == entry["server"]
