"""The lab's programs answer, on IPv4 and IPv6."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NoReturn

import pytest

from lvsd.errors import KernelError
from lvsd.lab import Lab, program, programs, settings
from lvsd.lab.wait import PATIENCE
from lvsd.net import pyroute2_parts, sockets
from tests.netns.modes.site import sha256
from tests.netns.name_server import dnsmasq

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace
    from lvsd.lab.programs import Program

pytestmark = pytest.mark.netns

FAMILIES = ["v4", "v6"]


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Namespace]:
    """Run nginx on a real server."""
    running = programs.nginx(lab.servers[0])
    yield lab.servers[0]
    assert running.stop() == 0


def url(host: Namespace, family: str, path: str, port: int = 80) -> str:
    return f"http://{settings.at(getattr(host.addresses, family), port)}{path}"


@pytest.mark.parametrize("port", programs.WEB_PORTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_nginx_says_who_it_is_and_whom_it_sees(
    lab: Lab, web: Namespace, family: str, port: int
) -> None:
    answer = lab.client.run(["curl", "-sS", url(web, family, "/", port)])

    assert answer.stdout.split() == ["server1", getattr(lab.client.addresses, family)]


def test_nginx_serves_the_lab_s_file(lab: Lab, web: Namespace) -> None:
    target = lab.client.directory / "downloaded"

    lab.client.run(["curl", "-sS", "-o", target, url(web, "v4", "/file")])

    assert target.stat().st_size == programs.FILE_BYTES
    assert sha256(target) == sha256(programs.payload(web))


def test_nginx_keeps_what_is_uploaded(lab: Lab, web: Namespace) -> None:
    sent = programs.payload(web)

    lab.client.run(["curl", "-sS", "--fail", "-T", sent, url(web, "v6", "/upload/x")])

    assert programs.uploaded(web, "x").read_bytes() == sent.read_bytes()


def test_nginx_writes_down_its_clients(lab: Lab, web: Namespace) -> None:
    source = lab.client.sources[5].v4

    lab.client.run(["curl", "-sS", "--interface", source, url(web, "v4", "/?seen")])

    lines = (web.directory / "access.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines if "/?seen" in line] == [source]


def test_two_connections_are_not_needed_for_two_requests(lab: Lab, web: Namespace) -> None:
    target = url(web, "v4", "/")

    curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{num_connects} ", target, "-o", "/dev/null"]
    connects = lab.client.run([*curl, target])

    assert connects.stdout.split() == ["1", "0"]


def test_the_kernel_answers_who_listens_as_its_files_do(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> NoReturn:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    server = lab.servers[1]
    running = dnsmasq(server, 5353)
    try:
        with server.entered():
            asked, listed = sockets.listening(), sockets.listed()
            monkeypatch.setattr(pyroute2_parts, "DiagSocket", refused)
            without = sockets.listening()
        assert program.listens(running, 5353)
        assert not program.listens(running, 5353, 5354)
    finally:
        running.stop()

    assert asked == listed == without
    assert {each.port for each in asked} >= {5353}


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dnsmasq_says_who_it_is(lab: Lab, family: str, transport: str) -> None:
    server = lab.servers[1]
    running = dnsmasq(server)
    try:
        at = f"@{getattr(server.addresses, family)}"
        dig = ["dig", "+short", f"+timeout={30 * PATIENCE:g}", transport, at, "who.lab"]

        assert lab.client.run([*dig, "TXT"]).stdout == '"server2"\n'
        assert lab.client.run([*dig, "A"]).stdout == f"{server.addresses.v4}\n"
        assert lab.client.run([*dig, "AAAA"]).stdout == f"{server.addresses.v6}\n"
    finally:
        running.stop()


@pytest.mark.parametrize("family", FAMILIES)
def test_iperf3_measures(lab: Lab, family: str) -> None:
    server = lab.servers[1]
    running = programs.iperf3(server)
    try:
        target = getattr(server.addresses, family)
        report = lab.client.run(["iperf3", "-c", target, "-n", "1M"])
    finally:
        running.stop()

    assert "iperf Done." in report.stdout


@pytest.mark.parametrize("balancer", [programs.haproxy, programs.nginx_stream])
def test_a_balancer_reaches_all_its_servers(lab: Lab, web: Namespace, balancer: object) -> None:
    other = programs.nginx(lab.servers[1])
    servers = [settings.at(space.addresses.v4, 80) for space in (web, lab.servers[1])]
    running: Program = balancer(lab.director, 81, servers)  # type: ignore[operator]  # of two
    try:
        asked = [url(lab.director, family, "/", 81) for family in FAMILIES for _ in range(2)]
        answers = [lab.client.run(["curl", "-sS", target]).stdout for target in asked]
    finally:
        running.stop()
        other.stop()

    assert sorted(answer.split()[0] for answer in answers) == ["server1"] * 2 + ["server2"] * 2


def test_a_program_that_cannot_start_says_why(lab: Lab, web: Namespace) -> None:
    del lab

    with pytest.raises(KernelError, match=r"start iperf3 .*ended with status .*it said: .*in use"):
        programs.iperf3(web, port=80)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    with pytest.raises(KernelError, match=r"start dnsmasq: .*; .*apt-get install dnsmasq-base"):
        program.find("dnsmasq")
