"""The lab stands as planned: addresses, routes, ways in."""

from __future__ import annotations

import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.lab import Lab
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from lvsd.lab import Namespace

pytestmark = pytest.mark.netns


def received(origin: Namespace, target: str, source: str, *options: str) -> str:
    ping = origin.run(["ping", "-n", "-c", "1", "-W", "2", "-I", source, *options, target])
    return next(line for line in ping.stdout.splitlines() if "transmitted" in line)


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_client_and_servers_reach_each_other_through_the_director(lab: Lab, family: str) -> None:
    client = getattr(lab.client.addresses, family)
    for server in lab.servers:
        address = getattr(server.addresses, family)
        assert "1 received" in received(lab.client, address, client)
        assert "1 received" in received(server, client, address)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_the_client_can_speak_from_its_last_address(lab: Lab, family: str) -> None:
    source = getattr(lab.client.sources[-1], family)

    assert "1 received" in received(lab.client, getattr(lab.servers[0].addresses, family), source)


def test_the_virtual_address_is_routed_to_the_director_and_on_no_interface(lab: Lab) -> None:
    for vip, director in (
        (lab.vip.v4, lab.director.addresses.v4),
        (lab.vip.v6, lab.director.addresses.v6),
    ):
        assert f"via {director}" in lab.client.run(["ip", "route", "get", vip]).stdout
        assert vip not in lab.director.run(["ip", "address", "show"]).stdout


def test_a_new_director_does_not_forward() -> None:
    with Lab(name="lvsd-test", servers=1) as fresh:
        assert fresh.director.sysctl_value("net.ipv4.ip_forward") == "0"
        assert fresh.director.sysctl_value("net.ipv6.conf.all.forwarding") == "0"


def test_a_packet_of_nine_thousand_bytes_passes_whole_in_a_lab_of_that_mtu() -> None:
    with Lab(name="lvsd-test", servers=2, mtu=9000) as big:
        big.director.sysctl("net.ipv4.ip_forward", "1")
        client, server = big.client.addresses.v4, big.servers[1].addresses.v4

        assert "1 received" in received(big.client, server, client, "-M", "do", "-s", "8972")


def test_two_labs_live_side_by_side(lab: Lab) -> None:
    with Lab(name="lvsd-test", servers=1) as other:
        assert other.name != lab.name
        assert other.client.addresses == lab.client.addresses
        other.client.run(["ping", "-c1", "-W2", other.director.addresses.v4])


def test_a_socket_opened_inside_belongs_to_the_namespace(lab: Lab) -> None:
    with lab.servers[0].entered():
        server = socket.create_server((lab.servers[0].addresses.v4, 7))
    with server, lab.client.entered():
        client = socket.create_connection(server.getsockname(), timeout=30 * PATIENCE)
    with client:
        assert client.getsockname()[0] == lab.client.addresses.v4


def test_the_thread_comes_home_after_an_exception(lab: Lab) -> None:
    home = interfaces()
    inside: list[set[str]] = []

    def work() -> None:
        with lab.director.entered():
            inside.append(interfaces())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert inside == [{"lo", "front", "back"}]
    assert interfaces() == home


def test_other_threads_stay_where_they_are(lab: Lab) -> None:
    home = interfaces()
    with ThreadPoolExecutor(max_workers=1) as elsewhere:
        elsewhere.submit(interfaces).result()  # the thread exists before we leave
        with lab.director.entered():
            assert elsewhere.submit(interfaces).result() == home


def test_python_runs_inside(lab: Lab) -> None:
    code = "import socket; print(*sorted(name for _, name in socket.if_nameindex()))"

    assert lab.director.python(code).stdout == "back front lo\n"


def test_a_program_that_fails_says_why(lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lab.client.run(["ip", "link", "show", "nonesuch"])

    assert any("nonesuch" in note for note in caught.value.__notes__)


def test_a_refused_command_of_iproute2_is_named(lab: Lab) -> None:
    line = "link set nonesuch up"

    with pytest.raises(KernelError, match=f"ip -n {lab.client.name} {line}: .*nonesuch"):
        lab.client.ip("link set lo up", line)


def test_a_sysctl_that_does_not_exist_is_named(lab: Lab) -> None:
    with pytest.raises(KernelError, match=r"set net\.ipv4\.nonesuch=1 in .*: No such file"):
        lab.client.sysctl("net.ipv4.nonesuch", "1")


def test_a_spawned_program_gets_no_ctrl_c_from_our_terminal(lab: Lab) -> None:
    process = lab.client.spawn(["sleep", "60"])

    assert process.pid == int(lab.client.run(["ps", "-o", "sid=", "-p", str(process.pid)]).stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60 * PATIENCE) == -signal.SIGTERM
