"""``lvsadm drain`` and ``lvsadm undrain``: what they do, print and return."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from lvsd.control import draining, lvsadm
from lvsd.control.answers import answers
from lvsd.control.methods import Context
from lvsd.control.server import ControlServer
from lvsd.core.commands import AddServer, AddService, RemoveServer, Undrain
from lvsd.core.wanted import Wanted
from lvsd.supervisor.desk import Desk, methods
from lvsd.supervisor.door import Door
from lvsd.turns import Turns
from tests.unit.core.world import FirstAdded, World

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

    from lvsd.core.commands import Change, Command
    from lvsd.core.service import RealServer, Service

WEB, DNS, FIRST, SECOND = "192.0.2.1:80", "192.0.2.1:53", "10.0.0.1:8080", "10.0.0.2:8080"


class Daemon:
    """A director with a control socket, on a loop in a thread of its own."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path
        self.loop = asyncio.new_event_loop()
        self._wanted = Wanted((900, 120, 300))
        for service in world.balancer.services:
            self._wanted.do([AddService(service.config)])
            servers = reversed(service.servers)
            self._wanted.do([AddServer(service.key, each.config) for each in servers])
        self.door = Door(self._wanted, self._prepare, self._apply, lambda: world.now)
        self._server = ControlServer(Desk(self._engine, methods(self.door)).ask, path)
        self.loop.run_until_complete(self._server.start())
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def _prepare(self, _: Sequence[Change]) -> Sequence[Command]:
        return ()

    async def _apply(self, commands: Sequence[Command], *, until_met: bool = True) -> None:
        del until_met
        self.world.apply(*commands)
        self._wanted.do(commands)

    def _engine(self, line: bytes) -> AsyncGenerator[bytes]:
        return answers(Context(self.world.balancer, 0.0, dict), line, Turns())

    def do(self, what: Callable[[], object]) -> None:
        """Have something done on the loop, and wait for that."""

        async def doing() -> None:
            what()

        asyncio.run_coroutine_threadsafe(doing(), self.loop).result(30)

    def stop(self) -> None:
        """End it. Harmless when done twice."""
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self._server.stop())
        self.loop.close()


@pytest.fixture
def world() -> World:
    """Two services; the first server of the first has a connection."""
    world = World()
    world.serve(servers=2, scheduler=FirstAdded())
    world.serve("udp", 53, servers=1, rport=5353)
    world.establish()
    return world


@pytest.fixture
def daemon(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Serve; a second passes for the daemon whenever the command sleeps for one."""
    daemon = Daemon(world, tmp_path / "control.sock")
    monkeypatch.setattr(
        "lvsd.control.draining.sleep", lambda seconds: daemon.do(lambda: world.wait(seconds))
    )
    monkeypatch.setenv("LVSD_CONTROL", str(daemon.path))
    with structlog.testing.capture_logs():
        yield daemon
    daemon.stop()


def lvsadm_status(line: str) -> int:
    """Return the exit status of a command line."""
    return lvsadm.main(line.split())


def web(world: World) -> Service:
    return next(iter(world.balancer.services))


def first(world: World) -> RealServer:
    return web(world).servers[-1]


def drained(world: World) -> list[str]:
    """Return the endpoints of drained servers, with their deadlines."""
    return [
        f"{each.config.label} {each.drain.deadline_s}"
        for service in world.balancer.services
        for each in service.servers
        if each.drain
    ]


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"drain {FIRST}", [f"{FIRST} None"]),
        (f"drain {FIRST} --deadline 5m", [f"{FIRST} 300"]),
        (f"drain --deadline=90s {FIRST} -t {WEB}", [f"{FIRST} 90"]),
        (f"drain {FIRST} --deadline 7", [f"{FIRST} 7"]),
        ("drain 10.0.0.1 --deadline 2h", [f"{FIRST} 7200", "10.0.0.1:5353 7200"]),
        (f"drain 10.0.0.1 -u {DNS}", ["10.0.0.1:5353 None"]),
        ("drain 10.0.0.1:5353", ["10.0.0.1:5353 None"]),
    ],
)
def test_a_server_is_drained_of_all_services_unless_one_is_named(
    world: World, capsys: pytest.CaptureFixture[str], line: str, expected: list[str]
) -> None:
    assert lvsadm_status(line) == 0
    assert drained(world) == expected
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("daemon")
def test_a_server_is_taken_back(world: World) -> None:
    assert lvsadm_status("drain 10.0.0.1") == 0
    assert lvsadm_status(f"undrain 10.0.0.1 -t {WEB}") == 0
    assert drained(world) == ["10.0.0.1:5353 None"]
    assert lvsadm_status("undrain 10.0.0.1") == 0
    assert drained(world) == []


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("drain 10.0.0.9:8080", "No such destination: 10.0.0.9:8080"),
        ("drain [2001:db8::9]", "No such destination: [2001:db8::9]"),
        (f"drain {FIRST} -u {DNS}", f"No such destination: {FIRST}"),
        (f"drain {FIRST} -t 192.0.2.9:80", "No such service"),
        (f"drain {FIRST} -f 7", "No such service"),
        (f"undrain {FIRST}", f"{FIRST} is not drained"),
    ],
)
def test_what_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    assert lvsadm_status(line) == 255
    assert capsys.readouterr() == ("", f"{told}\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("undrain", "You need to supply 'SERVER' for the 'undrain' command"),
        ("drain --wait", "--deadline and --wait go with a server"),
        ("drain --deadline 5m", "--deadline and --wait go with a server"),
        (f"drain {FIRST} --json", "--json lists"),
        (f"drain {FIRST} --deadline soon", "'soon' is no time such as 90s, 5m or 2h"),
        (f"drain {FIRST} --deadline 32d", "of 31 days at the most"),
        (
            f"drain {FIRST} -t {WEB} -u {DNS}",
            "The option '--udp-service' conflicts with the '--tcp-service'",
        ),
        (f"drain {FIRST} -6", "-6 belongs to -f MARK"),
        ("drain [10.0.0.1]:80", "is not [IPV6]:PORT"),
        ("drain [10.0.0.1]", "is not [IPV6]:PORT"),
        (f"drain {FIRST} -f 0", "--fwmark-service: invalid fwmark value `0' specified"),
        (f"drain {FIRST} -f 99999999999", "invalid fwmark value `99999999999' specified"),
        (f"drain {FIRST} -f -3", "invalid fwmark value `-3' specified"),
        (f"drain {FIRST} --deadline -3", "--deadline: '-3' is no time such as 90s, 5m or 2h"),
        ("drain 10.0.0.1:99999", "no tcp port"),
        (f"undrain {FIRST} --deadline 5m", "--deadline: unknown option"),
        (f"drain {FIRST} --dead 5m", "--dead: unknown option"),
    ],
)
def test_a_wrong_command_line_is_told_with_status_2(
    capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    assert lvsadm_status(line) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("line", ["drain", f"drain {FIRST}", f"undrain {FIRST}"])
def test_without_a_daemon_the_status_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert lvsadm_status(f"{line} --control {tmp_path}/none") == 1
    assert "lvsd is not running" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["drain", "undrain"])
def test_the_help_says_the_exit_statuses(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert lvsadm_status(f"{word} --help") == 0
    assert "Exit status: 0 done" in " ".join(capsys.readouterr().out.split())


# --- waiting ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("daemon")
def test_wait_ends_with_0_once_no_connection_is_left(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvsadm_status(f"drain {FIRST} --deadline 2h --wait") == 0
    assert first(world).total == 0
    assert 1890 < world.now < 1910
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("daemon")
def test_wait_ends_with_3_where_the_deadline_cut_connections(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvsadm_status("drain 10.0.0.1 --deadline 60 --wait") == 3
    assert 1060 <= world.now < 1065
    expected = f"{FIRST} of TCP  {WEB}: the deadline cut 1 connection\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(
    ("what", "told"), [(Undrain, "is not drained any more"), (RemoveServer, "was removed")]
)
def test_wait_ends_with_4_where_the_server_is_taken_back_or_removed(
    daemon: Daemon,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: Any,
    told: str,
) -> None:
    server = first(world)
    command = what(server.service.key, *server.config.place)
    monkeypatch.setattr(
        "lvsd.control.draining.sleep", lambda _: daemon.do(lambda: world.apply(command))
    )
    assert lvsadm_status(f"drain {FIRST} --wait") == 4
    assert capsys.readouterr().err == f"{FIRST} of TCP  {WEB} {told}\n"


def test_wait_outlives_a_daemon_that_is_restarted(
    daemon: Daemon, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Daemon] = []
    sleeps = 0

    def sleep(_: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 1:
            daemon.stop()
        elif sleeps == draining.PATIENCE - 1:
            later.append(Daemon(world, daemon.path))
        elif later:
            later[0].do(lambda: world.wait(60))

    monkeypatch.setattr("lvsd.control.draining.sleep", sleep)
    try:
        assert lvsadm_status(f"drain {FIRST} --wait") == 0
    finally:
        later[0].stop()


def test_wait_gives_up_where_nobody_answers_for_long(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sleeps = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        daemon.stop()

    monkeypatch.setattr("lvsd.control.draining.sleep", sleep)
    assert lvsadm_status(f"drain {FIRST} --wait") == 1
    assert len(sleeps) == draining.PATIENCE
    assert "lvsd is not running" in capsys.readouterr().err


def test_an_interrupt_leaves_the_server_drained(
    daemon: Daemon, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lvsd.control.draining.sleep", interrupt)
    assert lvsadm_status(f"drain {FIRST} --wait") == 130
    daemon.do(lambda: None)
    assert drained(world) == [f"{FIRST} None"]


# --- the listing --------------------------------------------------------------------------------


@pytest.mark.usefixtures("daemon")
def test_without_a_server_those_are_listed_that_are_drained_or_begin_slowly(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.edit(web(world), slow_start_s=60, scheduler="wlc")
    world.add_server(web(world), 3, weight=8)
    lvsadm_status(f"drain {FIRST} --deadline 5m")
    lvsadm_status("drain 10.0.0.1:5353")
    world.wait(15)
    assert lvsadm_status("drain") == 0
    assert capsys.readouterr().out == (
        "Prot LocalAddress:Port\n"
        "  -> RemoteAddress:Port           State     Weight Now    Connections Left\n"
        "TCP  192.0.2.1:80\n"
        "  -> 10.0.0.3:8080                starting  8      2      0           0:45\n"
        "  -> 10.0.0.1:8080                draining  1      0      1           4:45\n"
        "UDP  192.0.2.1:53\n"
        "  -> 10.0.0.1:5353                empty     1      0      0           -\n"
    )
    assert lvsadm_status(f"drain --json -t {WEB}") == 0
    (service,) = json.loads(capsys.readouterr().out)["services"]
    assert [each["address"] for each in service["servers"]] == ["10.0.0.3", "10.0.0.1"]


@pytest.mark.usefixtures("daemon")
def test_the_usual_listing_has_the_configured_weight_of_a_drained_server(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.edit_server(first(world), weight=5)
    lvsadm_status(f"drain {FIRST}")
    assert lvsadm_status(f"-Ln -t {WEB}") == 0
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.split() == ["->", FIRST, "Masq", "5", "1", "0"]
