"""A reload changes what the file says and nothing else, all of it or nothing, and says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from lvsd.config.load import load
from lvsd.errors import BusyError, ControlError, LostError
from lvsd.supervisor.reload import Reloads, in_force, methods, read
from tests.unit.supervisor.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.config import model
    from lvsd.core.wanted import Wanted
    from lvsd.supervisor.door import Maker
    from lvsd.supervisor.reload import Outcome

WEB = """
[daemon]
queue = 3
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
scheduler = "rr"
[[service.server]]
address = "10.0.0.11:8080"
weight = 1
"""
MORE = WEB.replace("weight = 1", 'weight = 3\n[[service.server]]\naddress = "10.0.0.12:8080"')
BAD = WEB.replace("weight = 1", "weight = -1").replace('"rr"', '"rrr"')


class World:
    """Stands for lvsd around its reloads.

    A ``refusal`` is raised in place of each change, ``refusals`` one by one.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_text(WEB)
        found = read(file)
        assert found.config is not None
        assert found.wanted is not None
        self.wanted: Wanted = found.wanted
        self.refusal: Exception | None = None
        self.refusals: list[Exception] = []
        self.said: list[str] = []
        self.done: list[list[str]] = []
        self.followed: list[model.Config] = []
        self.unfinished = ""
        self.hold: asyncio.Event | None = None
        self.reloads = Reloads(
            file,
            found.config,
            self,  # type: ignore[arg-type]  # in the manager's place
            self.change,
            self.prepare,
            self.follow,
            lambda: "services: 1",
        )

    def send(self, *messages: str) -> None:
        """Stand for the service manager."""
        self.said += messages

    async def change(self, make: Maker, by: str) -> None:
        """Stand for the door."""
        if self.hold is not None:
            await self.hold.wait()
        commands = await make(self.wanted)
        if self.refusals:
            raise self.refusals.pop(0)
        if self.refusal is not None:
            raise self.refusal
        self.wanted.do(commands)
        self.done.append([by, *(type(each).__name__ for each in commands)])

    async def prepare(self, config: model.Config) -> None:
        """Do nothing beforehand."""

    async def follow(self, config: model.Config) -> str:
        """Take note of what is in force."""
        self.followed.append(config)
        return self.unfinished

    def reload(self, text: str, by: str = "me") -> Outcome:
        """Reload with this text in the file."""
        self.file.write_text(text)
        return asyncio.run(self.reloads.reload(by))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Have a daemon that runs with `WEB`."""
    return World(tmp_path / "lvsd.toml")


def test_a_reload_of_the_same_file_changes_nothing(world: World) -> None:
    outcome = world.reload(WEB)
    assert (outcome.result, outcome.is_good, outcome.changes) == ("no change", True, ())
    assert world.done == [["reload by me"]]


def test_a_reload_with_another_file_is_told_what_to_do_instead(
    world: World, tmp_path: Path
) -> None:
    run = methods(world.reloads, None)["reload"].run  # type: ignore[arg-type]  # never asked
    other = tmp_path / "other.toml"
    with pytest.raises(ControlError) as refused:
        asyncio.run(run({"file": str(other)}, None))  # type: ignore[arg-type]  # nor who asks
    assert str(refused.value) == (
        f"the daemon runs with {world.file}, not with {other}: "
        f"copy {other} over {world.file}, then reload"
    )
    assert world.done == []


def test_what_differs_is_changed_and_said_line_by_line(world: World) -> None:
    with capture_logs() as logs:
        outcome = world.reload(MORE)
    assert outcome.result == "changed"
    lines = [
        "service web: server 10.0.0.11:8080: weight: 1 -> 3",
        "service web: server 10.0.0.12:8080: added",
    ]
    assert [each.text for each in outcome.changes] == lines
    assert world.done == [["reload by me", "AddServer", "EditServer"]]
    assert [line["what"] for line in logs if line["event"] == "changed by the reload"] == lines
    assert (logs[-1]["event"], logs[-1]["changes"], logs[-1]["by"]) == ("reloaded", 2, "me")


def test_what_lvsadm_changed_is_undone(world: World) -> None:
    world.reload(MORE)
    world.reloads.config = in_force(world.reloads.config, world.reloads.config)
    outcome = world.reload(WEB)
    assert [each.text for each in outcome.changes] == [
        "service web: server 10.0.0.11:8080: weight: 3 -> 1",
        "service web: server 10.0.0.12:8080: removed",
    ]


def test_a_bad_file_changes_nothing_and_every_error_is_said(world: World) -> None:
    with capture_logs() as logs:
        outcome = world.reload(BAD)
    assert not outcome.is_good
    assert outcome.result == "wrong configuration, nothing changed"
    assert world.done == []
    assert world.followed == []
    assert [(line["key"], line["log_level"]) for line in logs if "key" in line] == [
        ("service.scheduler", "error"),
        ("service.server.weight", "error"),
    ]
    summary = world.reloads.counters()["last_reload"]
    assert summary["problems"] == 2
    assert "service.scheduler" in str(summary["first_problem"])
    assert len(outcome.as_json()["problems"]) == 2  # type: ignore[arg-type]


def test_a_file_that_is_gone_is_one_error(world: World) -> None:
    world.file.unlink()
    outcome = asyncio.run(world.reloads.reload("me"))
    assert [str(each) for each in outcome.problems] == [
        f"{world.file}: No such file or directory, expected a readable file"
    ]


def test_what_the_engine_refuses_is_said_and_the_file_before_is_in_force(world: World) -> None:
    world.refusal = ControlError("the engine ended and is being replaced: ask again")
    before = world.reloads.config
    outcome = world.reload(MORE)
    assert outcome.result == "refused, nothing changed"
    assert (outcome.is_good, outcome.refusal) == (False, str(world.refusal))
    assert world.reloads.config is before
    assert world.followed == []


def test_a_reload_that_waited_in_vain_for_an_engine_is_refused(world: World) -> None:
    world.refusals = [BusyError("the engine ended and is being replaced: ask again")]
    assert "ask again" in world.reload(MORE).refusal
    assert world.done == []


def test_a_reload_that_an_engine_has_lost_is_done_by_the_next_one(world: World) -> None:
    world.refusals = [LostError("the engine ended and is being replaced: ask again")]
    assert world.reload(MORE).result == "changed"
    assert world.done == [["reload by me", "AddServer", "EditServer"]]


def test_commands_that_engines_end_for_are_given_up_after_the_second_one(world: World) -> None:
    lost = LostError("the engine ended and is being replaced: ask again")
    world.refusals = [lost] * 5
    assert not world.reload(MORE).is_good
    assert len(world.refusals) == 3


def test_an_error_of_lvsd_itself_leaves_it_running_and_ready(world: World) -> None:
    world.refusal = ZeroDivisionError()
    with capture_logs() as logs:
        outcome = world.reload(MORE)
    assert not outcome.is_good
    assert "log_level" in logs[0]
    assert "READY=1" in world.said


def test_what_needs_a_restart_is_said_and_keeps_nothing_else_from_being_changed(
    world: World,
) -> None:
    with capture_logs() as logs:
        outcome = world.reload(MORE.replace("queue = 3", "queue = 4\n[sysctl]\nsloppy_tcp = true"))
    assert [each.text for each in outcome.changes][:2] == [
        "[daemon]: queue: 3 -> 4 (needs a restart)",
        "[sysctl]: sloppy_tcp: false -> true",
    ]
    assert outcome.result == "changed, 1 key not: a restart is needed"
    assert world.done[0][1:] == ["SetSettings", "AddServer", "EditServer"]
    assert [line["what"] for line in logs if line["event"] == "not changed by the reload"] == [
        "[daemon]: queue: 3 -> 4 (needs a restart)"
    ]
    (config,) = world.followed
    assert (config.daemon.queue, config.sysctl.sloppy_tcp) == (3, True)
    again = asyncio.run(world.reloads.reload("me"))
    assert [each.text for each in again.changes] == ["[daemon]: queue: 3 -> 4 (needs a restart)"]
    assert again.result == "no change, 1 key not: a restart is needed"


@pytest.mark.parametrize("switch", ["forwarding", "reserve_local_ports"])
def test_what_is_switched_on_stays_on_until_a_restart(world: World, switch: str) -> None:
    off = f"[sysctl]\n{switch} = false\n"
    outcome = world.reload(off + WEB)
    line = f"[sysctl]: {switch}: true -> false (needs a restart)"
    assert [each.text for each in outcome.changes] == [line]
    assert getattr(world.reloads.config.sysctl, switch) is True


def test_what_is_switched_on_later_is_on(world: World, tmp_path: Path) -> None:
    (tmp_path / "off").write_text("[sysctl]\nforwarding = false\n" + WEB)
    world.reloads.config = load(tmp_path / "off")
    outcome = world.reload(WEB)
    assert [each.text for each in outcome.changes] == ["[sysctl]: forwarding: false -> true"]
    assert world.followed[0].sysctl.forwarding


def test_the_cores_settings_are_changed(world: World) -> None:
    outcome = world.reload("[sysctl]\nsloppy_tcp = true\n[timeouts]\ntcp_s = 60\n" + WEB)
    assert [each.text for each in outcome.changes] == [
        "[sysctl]: sloppy_tcp: false -> true",
        "[timeouts]: tcp_s: 900 -> 60",
    ]
    assert world.done[0][1:] == ["SetSettings", "SetTimeouts"]
    assert world.wanted.settings.sloppy_tcp


def test_an_interface_is_a_change_without_a_command(world: World) -> None:
    text = WEB.replace("scheduler", 'interface = "front"\nscheduler')
    outcome = world.reload(text)
    assert [each.text for each in outcome.changes] == ['service web: interface: none -> "front"']
    assert world.done == [["reload by me"]]
    assert world.followed[0].services[0].interface == "front"


@pytest.mark.parametrize("text", [WEB, MORE, BAD])
def test_systemd_is_told_that_a_reload_begins_and_ends_however_it_ends(
    world: World, text: str
) -> None:
    outcome = world.reload(text)
    begins, at, ends, status = world.said
    assert (begins, ends) == ("RELOADING=1", "READY=1")
    assert at.startswith("MONOTONIC_USEC=")
    assert status.startswith("STATUS=services: 1; last reload ")
    assert status.endswith(outcome.result)


def test_two_reloads_at_once_are_done_one_after_the_other(world: World) -> None:
    async def both() -> list[Outcome]:
        world.hold = asyncio.Event()
        world.file.write_text(MORE)
        first = asyncio.create_task(world.reloads.reload("first"))
        second = asyncio.create_task(world.reloads.reload("second"))
        await until(lambda: bool(world.said))
        world.hold.set()
        return [await first, await second]

    first, second = asyncio.run(both())
    assert (first.result, second.result) == ("changed", "no change")
    assert [line for line in world.said if line.endswith("=1")] == ["RELOADING=1", "READY=1"] * 2
    assert world.reloads.last is second


def test_a_reload_whose_client_hangs_up_is_done_to_its_end(world: World) -> None:
    async def hang_up() -> None:
        world.hold = asyncio.Event()
        world.file.write_text(MORE)
        asked = asyncio.create_task(world.reloads.reload("me"))
        await until(lambda: bool(world.said))
        asked.cancel()
        world.hold.set()
        await until(lambda: world.reloads.last is not None)

    asyncio.run(hang_up())
    assert world.done == [["reload by me", "AddServer", "EditServer"]]


def test_a_signal_that_comes_while_lvsd_starts_is_heeded_when_it_has_started(world: World) -> None:
    async def start() -> list[Any]:
        world.file.write_text(MORE)
        world.reloads.signalled()
        await asyncio.sleep(0)
        before = list(world.said)
        world.reloads.ready()
        await until(lambda: world.reloads.last is not None)
        return before

    assert asyncio.run(start()) == []
    assert world.done == [["reload by SIGHUP", "AddServer", "EditServer"]]


def test_signals_that_come_while_one_waits_for_its_turn_are_that_one(world: World) -> None:
    async def storm() -> None:
        world.reloads.ready()
        world.hold = asyncio.Event()
        world.file.write_text(MORE)
        world.reloads.signalled()
        await until(lambda: bool(world.said))
        for _ in range(50):
            world.reloads.signalled()
        world.hold.set()
        await until(lambda: world.said.count("READY=1") == 2)
        world.reloads.signalled()
        await until(lambda: world.said.count("READY=1") == 3)

    asyncio.run(storm())
    assert world.reloads.counters()["reloads"] == {"done": 3, "failed": 0}


def test_what_the_machine_refuses_after_a_change_is_said_and_is_no_success(world: World) -> None:
    world.unfinished = "no room for the journal"
    outcome = world.reload(MORE)
    assert world.done == [["reload by me", "AddServer", "EditServer"]]
    assert (outcome.result, outcome.is_good) == ("changed, but the machine refuses a part", False)
    assert outcome.as_json()["unfinished"] == "no room for the journal"
    assert world.reloads.counters()["reloads"] == {"done": 0, "failed": 1}
    world.unfinished = ""
    assert world.reload(MORE).is_good
