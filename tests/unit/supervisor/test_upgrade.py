"""Which program takes an lvsd's place, whether it would, and how the one before ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lvsd.arguments import HANDOVER
from lvsd.assembly import nothing_of
from lvsd.config.model import Config
from lvsd.control.peers import Peer
from lvsd.engine.wire import frame
from lvsd.errors import BusyError, ControlError, KernelError
from lvsd.lab.wait import PATIENCE, until
from lvsd.supervisor import one_thread
from lvsd.supervisor import predecessor as predecessor_module
from lvsd.supervisor import upgrade as upgrade_module
from lvsd.supervisor.beginning import next_queue
from lvsd.supervisor.desk import Desk, Method
from lvsd.supervisor.engines import Engine
from lvsd.supervisor.forker import Forker
from lvsd.supervisor.handover import Handover, described
from lvsd.supervisor.own_ports import OwnPorts
from lvsd.supervisor.predecessor import Predecessor
from lvsd.supervisor.upgrade import Program, Upgrades, ask, command, see_whether_found
from tests.unit.supervisor.an_engine import Did, Do, deaf, obedient

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable


def test_a_script_that_can_be_executed_says_itself_which_python_it_needs(tmp_path: Path) -> None:
    script = tmp_path / "lvsd"
    script.write_text("#!/usr/bin/python3\n")
    argv = [str(script), "-c", "a.toml"]
    python = [sys.executable, str(script)]
    assert command(argv, ["/old/python", *argv])[:2] == (python, ["-c", "a.toml"])
    script.chmod(0o755)
    assert command(argv, ["/old/python", *argv])[:2] == ([str(script)], ["-c", "a.toml"])


def test_options_of_python_are_kept() -> None:
    original = ["python3", "-X", "dev", "-m", "lvsd", "-c", "a.toml"]
    found = command(["/x/lvsd/__main__.py", "-c", "a.toml"], original)
    assert found.prefix == [sys.executable, "-X", "dev", "-m", "lvsd"]
    assert found.arguments == ["-c", "a.toml"]


def test_who_was_forked_by_another_program_is_run_as_the_module_that_it_is() -> None:
    found = command(["/x/lvsd/__main__.py", "-c", "a"], ["python3", "-m", "tests.server", "5"])
    assert found.prefix == [sys.executable, "-m", "lvsd"]
    with pytest.raises(ControlError, match="nobody knows how this lvsd was started"):
        command(["/x/other.py", "-c", "a"], ["python3", "-m", "tests.server", "5"])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_module", "does not start: ModuleNotFoundError: No module named"),
        ("", "does not start: it says nothing"),
        ("print('[]')", "does not start"),
        ("""print('{"refusal": "too new for me"}')""", "too new for me"),
    ],
)
def test_code_that_does_not_start_or_refuses_is_not_executed(code: str, why: str) -> None:
    with pytest.raises(ControlError, match=why):
        asyncio.run(ask([sys.executable, "-c", code], b"{}"))


def test_code_that_is_gone_is_said_to_be() -> None:
    with pytest.raises(ControlError, match="/no/such/lvsd cannot be executed: No such file"):
        asyncio.run(ask(["/no/such/lvsd", "upgrade", "--probe"], b"{}"))


def test_code_that_answers_gets_all_of_what_it_is_asked_about() -> None:
    data = os.urandom(1 << 20)
    code = (
        "import sys, json\n"
        f"right = len(sys.stdin.buffer.read()) == {len(data)}\n"
        "print(json.dumps({'refusal': '' if right else 'cut off'}))\n"
    )
    asyncio.run(ask([sys.executable, "-c", code], data))


def test_a_program_that_hangs_behind_a_shell_is_ended_with_it(tmp_path: Path) -> None:
    note = tmp_path / "process"
    script = f"sleep 3600 & echo $! > {note}.new; mv {note}.new {note}; wait"

    async def scenario() -> None:
        asking = asyncio.create_task(ask(["/bin/sh", "-c", script], b"{}"))
        assert await asyncio.to_thread(until, note.exists)
        asking.cancel()
        ended, _ = await asyncio.wait([asking], timeout=10 * PATIENCE)
        hung = int(note.read_text())
        try:
            assert ended
            assert await asyncio.to_thread(until, lambda: is_gone(hung))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(hung, signal.SIGKILL)

    asyncio.run(scenario())


def test_a_probe_loads_all_that_a_start_loads() -> None:
    start = (
        "from pathlib import Path\n"
        "from lvsd.entry import _lvsd\n"
        "from lvsd.preparing import prepared\n"
        "prepared(Path('no.toml'))\n"
    )
    probe = (
        "from lvsd.entry import lvsd\n"
        "sys.argv = ['lvsd', 'upgrade', '--probe']\n"
        "sys.stdin.close()\n"
        "sys.stdin = open('/dev/null')\n"
        "lvsd()\n"
    )
    missing = _loaded(start, **{HANDOVER: "3"}) - _loaded(probe)
    assert missing == set()


def _loaded(code: str, **environment: str) -> set[str]:
    """Return the modules of lvsd's that some code loads."""
    end = "\nprint('LOADED', *(each for each in sys.modules if each.startswith('lvsd')))"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{end}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    ("arguments", "is_found"),
    [(["-c", "a.toml"], False), (["-c", "/x/a.toml"], True), (["--config=/x/a.toml"], True)],
)
def test_a_file_that_was_named_in_a_directory_that_is_gone_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], *, is_found: bool
) -> None:
    program = Program(["lvsd"], arguments)
    see_whether_found(program, Path("/x/a.toml"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    if is_found:
        see_whether_found(program, Path("/x/a.toml"))
    else:
        with pytest.raises(ControlError, match=r"working directory, which a\.toml was named in"):
            see_whether_found(program, Path("/x/a.toml"))


class Changing:
    """A supervisor's parts, as much of them as an upgrade asks while things change."""

    def __init__(self) -> None:
        self.desk = SimpleNamespace(busy="")
        self.door = SimpleNamespace(tried=0, still=self.still)
        self.reloads = SimpleNamespace(still=self.still, file=Path("/x/a.toml"))
        self.control = SimpleNamespace(asking=lambda: SimpleNamespace(fileno=lambda: 0))
        self.engine = SimpleNamespace(gate=SimpleNamespace(passed=self.passed))
        self.engine.unkept, self.engine.connections = 0, 17
        self.engine.heard = self.passed
        self.stopped = asyncio.Event()
        self.ports = SimpleNamespace(state=dict)
        self.asked: list[str] = []
        self.queue = 0

    async def passed(self) -> None:
        """Have a gate that is open."""

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """Do without locks."""
        yield


@pytest.mark.parametrize(("changes", "asked"), [(0, 1), (2, 3), (9, 4)])
def test_changes_are_refused_while_the_new_code_is_asked_only_when_they_never_end(
    monkeypatch: pytest.MonkeyPatch, changes: int, asked: int
) -> None:
    parts = Changing()
    upgrades = Upgrades(parts)  # type: ignore[arg-type]  # as much as is asked

    async def probed(*_: object) -> None:
        parts.asked.append(parts.desk.busy)
        parts.door.tried += parts.door.tried < changes

    async def described(_: str) -> None:
        pass

    async def executed(*_: object) -> None:
        assert parts.desk.busy
        raise KernelError("execute", "no", "none")

    monkeypatch.setattr(upgrade_module, "probe", probed)
    monkeypatch.setattr(upgrade_module, "command", lambda: Program(["lvsd"], ["-c", "/x/a.toml"]))
    for name, stand_in in (("_described", described), ("_go", executed)):
        monkeypatch.setattr(upgrades, name, stand_in)
    monkeypatch.setattr(upgrades, "_look_for_obstacles", lambda: None)
    with pytest.raises(KernelError, match="execute"):
        asyncio.run(upgrades.upgrade("somebody"))
    assert len(parts.asked) == asked
    assert [bool(busy) for busy in parts.asked] == [False] * min(asked, 3) + [True] * (asked > 3)
    assert parts.desk.busy == ""


def test_a_queue_that_is_taken_while_the_new_code_is_asked_is_seen_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = Changing()
    parts.reloads.config = SimpleNamespace(daemon=SimpleNamespace(queue=5))
    parts.queue = 5
    upgrades = Upgrades(parts)  # type: ignore[arg-type]  # as much as is asked

    async def probed(*_: object) -> None:
        parts.asked.append("asked")

    async def described(_: str) -> None:
        pass

    def reader(_: int) -> object:
        return SimpleNamespace(port=7) if parts.asked else None

    monkeypatch.setattr(upgrade_module, "probe", probed)
    monkeypatch.setattr(upgrade_module, "queue_statistics", reader)
    monkeypatch.setattr(upgrade_module, "command", lambda: Program(["lvsd"], ["-c", "/x/a.toml"]))
    monkeypatch.setattr(upgrades, "_described", described)
    with pytest.raises(KernelError, match="take NFQUEUE 6: it is taken by netlink port 7"):
        asyncio.run(upgrades.upgrade("somebody"))
    assert parts.asked == ["asked"]


def test_connections_that_would_be_lost_are_seen_before_the_new_code_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = Changing()
    parts.reloads.config = SimpleNamespace(daemon=SimpleNamespace(queue=5))
    parts.engine.unkept = 3
    monkeypatch.setattr(upgrade_module, "queue_statistics", lambda _: None)
    monkeypatch.setattr(upgrade_module, "command", lambda: Program(["lvsd"], ["-c", "/x/a.toml"]))
    with pytest.raises(KernelError, match="hand over all connections: 3 of 17 are not in the file"):
        asyncio.run(Upgrades(parts).upgrade("somebody"))  # type: ignore[arg-type]  # as above


def blocked(thread: int) -> set[int]:
    """Return the signals that a thread does not take."""
    status = Path(f"/proc/self/task/{thread}/status").read_text("ascii")
    mask = int(status.partition("SigBlk:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def others() -> list[int]:
    """Return the thread that blocks in the supervisor's place."""
    return [each.native_id or 0 for each in threading.enumerate() if each.name.startswith("lvsd")]


@pytest.mark.parametrize(
    ("number", "is_executed"), [(signal.SIGTERM, False), (signal.SIGHUP, True)]
)
def test_a_signal_right_before_the_new_code_runs_is_heeded(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, *, is_executed: bool
) -> None:
    parts = Changing()
    parts.door.tell = lambda _: None
    heard: list[signal.Signals] = []
    main = threading.get_native_id()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, parts.stopped.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: heard.append(signal.SIGHUP))
        upgrades = Upgrades(parts)  # type: ignore[arg-type]  # as much as is asked
        executed: list[list[set[int]]] = []
        await one_thread.ready(loop)

        async def quiet() -> None:
            signal.raise_signal(number)  # noted, and not heeded yet

        def execute(*_: object) -> None:
            executed.append([blocked(thread) for thread in (main, *others())])

        monkeypatch.setattr(upgrades, "_look_for_obstacles", lambda: None)
        monkeypatch.setattr(upgrades, "_counted", dict)
        monkeypatch.setattr(upgrades, "_quiet", quiet)
        monkeypatch.setattr(upgrades, "_execute", execute)
        config = Config()
        known = described(nothing_of(config), config, began=0.0, queue=0, ports={}, counters={})
        going = upgrades._go(Program(["lvsd"], []), known, 0)
        if is_executed:
            await going
            assert len(executed[0]) == 2
            assert all(each >= {*upgrade_module.BLOCKED} for each in executed[0])
            assert heard == [signal.SIGHUP]
        else:
            with pytest.raises(BusyError, match="just being stopped"):
                await going
            assert executed == []
        for thread in (main, *others()):
            assert not blocked(thread) & {*upgrade_module.BLOCKED}

    asyncio.run(scenario())


def test_an_upgrade_without_a_descriptor_left_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", none_left)
    with pytest.raises(KernelError, match="hand over to the new lvsd: Too many open files"):
        asyncio.run(Upgrades(Changing()).upgrade("somebody"))  # type: ignore[arg-type]  # as above


def test_two_queues_are_used_in_turn() -> None:
    assert [next_queue(5, 5), next_queue(5, 6)] == [6, 5]
    assert [next_queue(65535, 65535), next_queue(65535, 65534)] == [65534, 65535]


def test_ports_that_were_shared_are_not_shared_anew() -> None:
    before = OwnPorts()
    before.kept, before._given, before._reserved = ((1, 9),), frozenset({(1, 99)}), ((10, 99),)
    after = OwnPorts()
    after.go_on(before.state(), None, is_on=True)  # type: ignore[arg-type]  # it is asked nothing
    assert (after.kept, after.state()) == (before.kept, before.state())
    assert not after.needs({(1, 99)})


def handed_over(forker: Forker, engine: Engine, farewell: bytes) -> Handover:
    """Return what a supervisor that is gone leaves of its processes."""
    process, end = forker.parting()
    ends = {
        "engine": os.dup(engine.descriptor),
        "engine_process": os.pidfd_open(engine.process),
        "forker": os.dup(end),
    }
    return Handover(
        {}, [], [], [], 0.0, 0, {}, {}, forker=process, farewell=farewell.hex(), descriptors=ends
    )


def run(
    work: Callable[[socket.socket], int], farewell: bytes, before: Callable[[int], object] = id
) -> tuple[int, int]:
    """End an engine and its forker as who comes after would; return their processes.

    ``before`` is called with the engine's before that, while it is in reach.
    """
    forker = Forker(work)

    async def scenario() -> int:
        forker.start(asyncio.get_running_loop())
        engine = Engine([Did], lambda *_: None, lambda *_: None)
        await engine.start(forker)
        left = Predecessor(handed_over(forker, engine, farewell))
        await asyncio.to_thread(before, engine.process)
        if engine._wire is not None:
            engine._wire.close()
        forker._leave()
        await left.leave()
        await left.leave()
        await left.end()
        await left.end()
        return engine.process

    process = forker.parting()[0]
    engine = asyncio.run(asyncio.wait_for(scenario(), 60 * PATIENCE))
    return process, engine


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_engine_ends_as_its_own_supervisor_has_written_and_the_forker_with_it() -> None:
    for process in run(obedient, frame(Do("exit"))):
        assert is_gone(process)


def test_an_engine_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predecessor_module, "FAREWELL_S", 0.2)
    for process in run(deaf, frame(Do("hang"))):
        assert is_gone(process)


def test_an_engine_that_has_ended_by_itself_keeps_nobody_waiting() -> None:
    told, telling = os.pipe()

    def ending(_: socket.socket) -> int:
        return len(os.read(told, 1)) - 1

    def let_it_end(process: int) -> None:
        os.write(telling, b"x")
        assert until(lambda: is_gone(process))

    try:
        for process in run(ending, frame(Do("exit")), let_it_end):
            assert is_gone(process)
    finally:
        os.close(told)
        os.close(telling)


def test_an_engine_that_has_just_ended_is_not_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[bool] = []

    def has_all(_: object) -> bool:
        looks.append(len(looks) >= 3)  # another one has begun by then
        return looks[-1]

    monkeypatch.setattr(Engine, "has_all", property(has_all))
    parts = Changing()
    parts.engine.gate.is_open = True
    parts.engine.working = Engine([Did], lambda *_: None, lambda *_: None)
    parts.control.busy = parts.door.listeners = 0
    asyncio.run(Upgrades(parts)._quiet())  # type: ignore[arg-type]  # as much as is asked
    assert looks == [False] * 3 + [True]


def test_an_engine_has_not_all_as_soon_as_its_wire_has_ended() -> None:
    async def scenario() -> list[bool]:
        forker = Forker(obedient)
        forker.start(asyncio.get_running_loop())
        engine = Engine([Did], lambda *_: None, lambda *_: None)
        seen = [engine.has_all]
        await engine.start(forker)
        seen.append(engine.has_all)
        os.kill(engine.process, signal.SIGKILL)
        await engine.stop()
        forker.close()
        return [*seen, engine.has_all]

    assert asyncio.run(asyncio.wait_for(scenario(), 60 * PATIENCE)) == [False, True, False]


def test_nothing_is_changed_any_more_once_the_new_code_is_about_to_run() -> None:
    done: list[str] = []

    async def change(_: object, peer: Peer) -> None:
        done.append(str(peer))

    async def engine(line: bytes) -> AsyncGenerator[bytes]:
        yield line

    async def asked(desk: Desk, method: str) -> list[bytes]:
        line = json.dumps({"method": method}).encode()
        root = Peer(1, 0, frozenset())
        return [each async for each in desk.ask(line, root)]

    async def scenario() -> None:
        desk = Desk(engine, {"change": Method(change)})
        desk.busy = "being upgraded: ask again"
        for method in ("change", "zero"):
            (answer,) = await asked(desk, method)
            error = json.loads(answer)["error"]
            assert (error["code"], error["message"]) == ("busy", "being upgraded: ask again")
        assert await asked(desk, "list") == [b'{"method": "list"}']
        assert done == []
        desk.busy = ""
        await asked(desk, "change")
        assert len(done) == 1

    asyncio.run(scenario())


def test_a_stop_gives_up_an_upgrade_and_begins_none() -> None:
    async def scenario() -> None:
        upgrades = Upgrades(SimpleNamespace(counters={}))  # type: ignore[arg-type]  # asked nothing
        upgrades._task = task = asyncio.create_task(asyncio.sleep(3600))
        upgrades.stop()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BusyError, match="ask again"):
            await upgrades.upgrade("somebody")

    asyncio.run(scenario())
