"""Programs as they are installed, run by ``lvsd realserver toa run``, log the client."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import until
from lvsd.realserver.toa.cgroups import tree
from lvsd.realserver.toa.run import PREFIX, sweep
from tests.netns.realserver.toa_site import (
    CLIENT,
    CLIENT6,
    LIP,
    LIP6,
    PATIENCE_S,
    Site,
    built,
    toa,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[3]
RUN = [sys.executable, "-m", "lvsd", "realserver", "toa", "run", "--from", f"{LIP},{LIP6}", "--"]
GET = b"GET / HTTP/1.0\r\n\r\n"

NGINX = """
daemon off;
user root;
worker_processes 1;
pid DIR/pid;
error_log DIR/error.log;
events {}
http {
    log_format who '$remote_addr $remote_port "$request" $status';
    access_log DIR/access.log who;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    server {
        listen 8080;
        listen [::]:8080;
        return 200 "you are $remote_addr\\n";
    }
}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have one site for all tests."""
    with built() as site:
        yield site


@contextmanager
def running(site: Site, argv: Sequence[str | Path], log: Path) -> Iterator[None]:
    """Run a program with TOA, and what it prints going to a file; end it by SIGTERM."""
    with log.open("w") as file:
        words = [*RUN, *map(str, argv)]
        process = site.spawn(words, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            site.hang_up()
            process.terminate()
            process.wait(PATIENCE_S)
    assert not cgroup_of(process)


def cgroup_of(process: subprocess.Popen[str]) -> bool:
    """Return whether the cgroup is there that a `run` makes."""
    with tree() as cgroups:
        return any(name.endswith(f"/{PREFIX}{process.pid}") for name in cgroups.names())


def swept(process: subprocess.Popen[str]) -> bool:
    """Remove what killed runs left, as `down` does; return whether this one's was among it."""
    with tree() as cgroups:
        return any(name.endswith(f"/{PREFIX}{process.pid}") for name in sweep(cgroups))


def until_listening(site: Site, port: int) -> None:
    argv = ["ip", "netns", "exec", site.server.name, "ss", "-Hltn", f"sport = {port}"]
    assert until(lambda: subprocess.run(argv, capture_output=True, check=True).stdout != b"")


def until_logged(log: Path, number: int, pattern: str) -> list[str]:
    """Return what matches in a log once there are so many."""

    def found() -> list[str]:
        return re.findall(pattern, log.read_text(), re.MULTILINE)

    assert until(lambda: len(found()) >= number), log.read_text()
    return found()


def test_the_access_log_of_nginx_names_clients(site: Site, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(NGINX.replace("DIR", str(tmp_path)))
    argv = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with running(site, argv, tmp_path / "out"):
        until_listening(site, 8080)
        for lip, client in ((LIP, CLIENT), (LIP6, CLIENT6)):
            director = site.director(lip, 8080)
            director.open(toa(*client))
            director.send(GET)
            page = director.read(b"\r\nyou").partition(b"\r\n\r\n")[2]
            assert page == f"you are {client[0]}\n".encode()

        logged = until_logged(tmp_path / "access.log", 2, r"^.*\n")
    assert logged == [
        f'{address} {port} "GET / HTTP/1.0" 200\n' for address, port in (CLIENT, CLIENT6)
    ]


def test_pythons_http_server_logs_clients(site: Site, tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = [sys.executable, "-u", "-m", "http.server", "8000", "--bind", "::", "-d", str(tmp_path)]
    with running(site, argv, log):
        until_listening(site, 8000)
        for lip, client in ((LIP, CLIENT), (LIP6, CLIENT6)):
            director = site.director(lip, 8000)
            director.open(toa(*client))
            director.send(GET)

        logged = until_logged(log, 2, r'^(\S+) - - .*"GET / HTTP/1.0" 200')
    assert sorted(logged) == sorted([f"::ffff:{CLIENT[0]}", CLIENT6[0]])


def test_sshd_logs_clients(site: Site, tmp_path: Path) -> None:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("sshd is not there; install the package openssh-server")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
    separation = Path("/run/sshd")
    ours = not separation.exists()
    separation.mkdir(mode=0o755, exist_ok=True)
    options = [f"HostKey={key}", "LogLevel=VERBOSE", "Port=2222", f"PidFile={tmp_path}/pid"]
    argv = [sshd, "-D", "-e", "-f", "/dev/null"] + [f"-o{option}" for option in options]
    log = tmp_path / "log"
    try:
        with running(site, argv, log):
            until_listening(site, 2222)
            for lip, client in ((LIP, CLIENT), (LIP6, CLIENT6)):
                director = site.director(lip, 2222)
                director.open(toa(*client))
                director.read(b"SSH-2.0-")
                director.reset()

            logged = until_logged(log, 2, r"Connection from (\S+ port \d+) on ")
    finally:
        if ours:
            separation.rmdir()
    assert logged == [f"{address} port {port}" for address, port in (CLIENT, CLIENT6)]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 3", 3),
        ("exec nonesuch-program", 127),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        ("kill -PIPE $$", 128 + signal.SIGPIPE),
        ("kill -TERM $PPID; read line", 128 + signal.SIGTERM),
    ],
)
def test_the_status_is_the_programs(site: Site, command: str, status: int) -> None:
    options = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with site.spawn([*RUN, "sh", "-c", command], cwd=ROOT, **options) as process:
        assert process.wait(PATIENCE_S) == status
    assert not cgroup_of(process)


def test_a_program_that_is_not_there_has_the_status_of_a_shell(site: Site) -> None:
    with site.spawn([*RUN, "nonesuch-program"], cwd=ROOT, stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (
        127,
        "lvsd: nonesuch-program: No such file or directory\n",
    )


def test_run_waits_for_what_went_into_the_background(site: Site, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"(read line <{fifo}; echo done >{tmp_path}/last) & exit 5"
    with site.spawn([*RUN, "sh", "-c", script], cwd=ROOT) as process:
        fifo.write_text("go\n")
        assert process.wait(PATIENCE_S) == 5
    assert (tmp_path / "last").read_text() == "done\n"
    assert not cgroup_of(process)


def test_what_a_killed_run_left_is_removed_once_it_is_empty(site: Site, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = [*RUN, "sh", "-c", f"read line <{fifo}"]
    # The FIFO opens for writing once the program has it open for reading.
    with site.spawn(waiting, cwd=ROOT) as process, fifo.open("w") as program:
        assert (swept(process), cgroup_of(process)) == (False, True)
        process.kill()
        process.wait()
        assert (swept(process), cgroup_of(process)) == (False, True)
        program.write("go\n")
    assert until(lambda: swept(process))
    assert not cgroup_of(process)
