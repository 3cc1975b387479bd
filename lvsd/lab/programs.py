"""Real programs in the lab's hosts, each with a generated configuration.

Every function starts one program, waits until it listens and returns it as a `Program`. None
daemonises; what they print goes to a log in the host's directory. The servers listen on IPv4
and IPv6 alike. `lvsd` itself is started by `lvsd.lab.director`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from lvsd.lab.director import Daemon, lvsd
from lvsd.lab.program import Program, find, start, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.lab.namespace import Namespace

__all__ = [
    "Daemon",
    "Program",
    "haproxy",
    "iperf3",
    "lvsd",
    "nginx",
    "nginx_stream",
    "payload",
    "uploaded",
]

FILE_BYTES = 20_000_000
"""The size of what nginx serves as /file."""

BLOCK_BYTES = 1_000_000
"""Of which this much is random: a lab of which nobody asks for the file is not kept waiting."""

WEB_PORTS = (80, 8080)
IPERF_PORT = 5201

NGINX_STREAM_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_stream_module.so"),
)


def payload(namespace: Namespace) -> Path:
    """Return the file that every nginx of a lab serves as /file; make it if need be.

    It is `FILE_BYTES` long and the same for all: blocks that are numbered, so that none can stand
    for another, and else alike and random.
    """
    path = namespace.directory.parent / "file"
    if not path.exists():
        block = random.Random("lvsd").randbytes(BLOCK_BYTES - 8)  # noqa: S311 - no secret
        with path.open("wb") as file:
            for number in range(FILE_BYTES // BLOCK_BYTES):
                file.write(number.to_bytes(8, "big") + block)
    return path


def nginx(
    namespace: Namespace, ports: Sequence[int] = WEB_PORTS, *, under: Sequence[str | Path] = ()
) -> Program:
    """Start a web server; by another program if ``under`` is the beginning of such a command.

    ``/`` answers with the host's name and the client's address as the server sees it, ``/file``
    with the lab's `payload`; ``PUT /upload/NAME`` stores what is sent as `uploaded` finds it.
    Connections are kept alive. Each request is a line in access.log: client address, client
    port, request, status, bytes.
    """
    directory = namespace.directory
    (directory / "upload").mkdir(exist_ok=True)
    listen = " ".join(f"listen {port}; listen [::]:{port};" for port in ports)
    served = payload(namespace)
    http = f"""
        log_format lab '$remote_addr $remote_port "$request" $status $body_bytes_sent';
        access_log {directory}/access.log lab;
        default_type text/plain;
        sendfile on;
        tcp_nopush on;
        keepalive_timeout 300;
        keepalive_requests 1000000;
        client_max_body_size 1g;
        server {{
            {listen}
            location = / {{ return 200 "{namespace.host} $remote_addr\\n"; }}
            location = /file {{ alias {served}; }}
            location /upload/ {{ root {directory}; dav_methods PUT; }}
        }}"""
    body = f"http {{ {_nginx_temporary(directory)} {http}\n}}"
    return _nginx(namespace, "nginx", body, ports, under=under)


def uploaded(namespace: Namespace, name: str) -> Path:
    """Return where ``PUT /upload/NAME`` put its file."""
    return namespace.directory / "upload" / name


def iperf3(namespace: Namespace, port: int = IPERF_PORT) -> Program:
    """Start an iperf3 server, TCP and UDP, one test at a time."""
    program = start(namespace, ["iperf3", "--server", "--port", str(port)], "iperf3")
    wait_for_port(program, port)
    return program


def haproxy(namespace: Namespace, port: int, servers: Sequence[str]) -> Program:
    """Start HAProxy in TCP mode, round robin over ``servers`` (``10.0.0.11:80``)."""
    lines = "\n".join(
        f"    server server{number} {server}" for number, server in enumerate(servers, 1)
    )
    name = f"haproxy-{port}"
    config = namespace.directory / f"{name}.cfg"
    text = f"""
global
    nbthread 1
    maxconn 8000
defaults
    mode tcp
    balance roundrobin
    timeout connect 5s
    timeout client 300s
    timeout server 300s
listen balancer
    bind :::{port} v4v6
{lines}
"""
    config.write_text(text, encoding="utf-8")
    program = start(namespace, ["haproxy", "-db", "-f", config], name)
    wait_for_port(program, port)
    return program


def nginx_stream(namespace: Namespace, port: int, servers: Sequence[str]) -> Program:
    """Start nginx as a TCP balancer, round robin over ``servers`` (``10.0.0.11:80``)."""
    upstream = " ".join(f"server {server};" for server in servers)
    body = f"""stream {{
        upstream servers {{ {upstream} }}
        server {{ listen {port}; listen [::]:{port}; proxy_pass servers; }}
    }}"""
    module = next((path for path in NGINX_STREAM_MODULES if path.exists()), None)
    loading = f"load_module {module};\n" if module else ""
    return _nginx(namespace, f"nginx-stream-{port}", body, [port], loading)


def _nginx(
    namespace: Namespace,
    name: str,
    body: str,
    ports: Sequence[int],
    loading: str = "",
    *,
    under: Sequence[str | Path] = (),
) -> Program:
    config = namespace.directory / f"{name}.conf"
    text = f"""{loading}daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {namespace.directory}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
{body}
"""
    config.write_text(text, encoding="utf-8")
    own: list[str | Path] = [find("nginx"), "-e", "stderr", "-p", namespace.directory, "-c", config]
    program = start(namespace, [*under, *own], name)
    wait_for_port(program, *ports)
    return program


def _nginx_temporary(directory: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
