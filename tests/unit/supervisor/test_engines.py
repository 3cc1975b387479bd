"""Engines as processes: one at work, another one in its place when it ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.supervisor import engines as engines_module
from lvsd.supervisor import forker as forker_module
from lvsd.supervisor.engines import DEATHS, Engine, EngineError, Engines
from lvsd.supervisor.forker import Forker, ForkError
from tests.unit.supervisor.an_engine import Did, Do, deaf, mistaken, mortal, obedient
from tests.unit.supervisor.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lvsd.supervisor.forker import Work


class Pool:
    """Engines, and what they were told and said."""

    def __init__(self, work: Work = obedient, *, silent_s: float = 3600.0) -> None:
        self.heard: list[object] = []
        self.begun: list[int] = []
        self.lost = 0
        self.forker = Forker(work)
        self.engines = Engines(
            self.forker, [Do, Did], self._begin, self.heard.append, self._lose, silent_s=silent_s
        )

    def _begin(self, engine: Engine) -> None:
        self.begun.append(engine.process)
        engine.send(Do("begin"))

    def _lose(self) -> None:
        self.lost += 1

    @property
    def working(self) -> int:
        """The number of the working engine's process, 0 without one."""
        engine = self.engines.working
        return engine.process if engine else 0

    async def replaced(self, first: int) -> int:
        """Wait until another engine than ``first`` is at work, and return its process."""
        await until(lambda: self.working not in {0, first})
        return self.working


def run(scenario: Callable[[Pool], Coroutine[Any, Any, None]], pool: Pool) -> None:
    """Run a scenario with a pool that has started; end it, and see that no process lives on."""
    forks = pool.forker._process

    async def around() -> None:
        pool.forker.start(asyncio.get_running_loop())
        try:
            await pool.engines.start()
            await scenario(pool)
        finally:
            await pool.engines.stop()
            pool.forker.close()

    asyncio.run(around())
    assert not any(lives(process) for process in (*pool.begun, forks))


def lives(process: int) -> bool:
    """Whether a process is there, and not only what is left of it until init looks."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_briefly_for_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stop wait briefly for what never comes while the process that forks hangs."""
    for module, name in (
        (engines_module, "FAREWELL_S"),
        (engines_module, "KILLED_S"),
        (forker_module, "CLOSE_S"),
    ):
        monkeypatch.setattr(module, name, 0.2)


def test_an_engine_begins_and_answers() -> None:
    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)
        assert pool.heard == [Did("begin", pool.working)]
        assert pool.begun == [pool.working]

    run(scenario, Pool())


@pytest.mark.parametrize("how", ["kill -9", "exit", "babble"])
def test_another_one_takes_the_place_of_an_engine_that_ends(how: str) -> None:
    async def scenario(pool: Pool) -> None:
        first = pool.working
        if how == "kill -9":
            os.kill(first, signal.SIGKILL)
        else:
            pool.engines.send(Do(how))
        second = await pool.replaced(first)
        await until(lambda: Did("begin", second) in pool.heard)
        assert (pool.engines.replaced, pool.lost) == (1, 1)
        pool.engines.send(Do("more"))
        await until(lambda: Did("more", second) in pool.heard)

    run(scenario, Pool())


def test_an_engine_that_says_nothing_is_killed_and_replaced() -> None:
    async def scenario(pool: Pool) -> None:
        first = pool.working
        await until(lambda: pool.heard)
        pool.engines.send(Do("hang"))
        now = time.monotonic()
        for later_s in range(6):
            pool.engines.look(now + later_s)
            assert pool.working == first
        pool.engines.look(now + 6.0)
        await pool.replaced(first)

    run(scenario, Pool(silent_s=5.0))


def test_silence_while_all_were_stopped_is_no_reason_to_kill_an_engine() -> None:
    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)
        now = time.monotonic()
        pool.engines.look(now)
        pool.engines.look(now + 60.0)
        pool.engines.send(Do("more"))
        await until(lambda: Did("more", pool.begun[0]) in pool.heard)

    run(scenario, Pool(silent_s=5.0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_a_terminal_or_systemd_sends_to_all_do_not_end_an_engine(
    number: signal.Signals,
) -> None:
    async def scenario(pool: Pool) -> None:
        os.kill(pool.working, number)
        os.kill(pool.forker._process, number)
        pool.engines.send(Do("more"))
        await until(lambda: Did("more", pool.begun[0]) in pool.heard)

    run(scenario, Pool())


def test_engines_that_end_again_and_again_are_given_up() -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(EngineError, match=f"{DEATHS} engines ended .* with status 7"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool(mortal))


def test_an_engine_that_does_not_end_when_asked_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines_module, "FAREWELL_S", 0.2)

    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)

    run(scenario, Pool(deaf))


def test_without_the_process_that_forks_an_engine_works_on_and_is_not_replaced() -> None:
    async def scenario(pool: Pool) -> None:
        os.kill(pool.forker._process, signal.SIGKILL)
        await until(lambda: pool.engines.counters() == {"replaced": 0, "forker_ended": 1})
        pool.engines.send(Do("more"))
        await until(lambda: Did("more", pool.begun[0]) in pool.heard)
        pool.engines.send(Do("exit"))
        with pytest.raises(EngineError, match="the forker is gone"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool())


def test_the_log_says_which_error_ends_an_engine(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(EngineError, match="with status 70"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool(mistaken))
    assert "ZeroDivisionError: a mistake" in "".join(capfd.readouterr())


def test_a_process_that_forks_and_has_no_descriptor_left_says_so() -> None:
    async def scenario(pool: Pool) -> None:
        resource.prlimit(pool.forker._process, resource.RLIMIT_NOFILE, (3, 3))
        os.kill(pool.working, signal.SIGKILL)
        with pytest.raises(EngineError, match="Too many open files"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool())


@pytest.mark.parametrize("killed", [False, True])
def test_a_stop_comes_to_its_end_though_the_process_that_forks_hangs(
    monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    _wait_briefly_for_what_hangs(monkeypatch)

    async def scenario(pool: Pool) -> None:
        os.kill(pool.forker._process, signal.SIGSTOP)
        if killed:
            os.kill(pool.working, signal.SIGKILL)

    run(scenario, Pool())


@pytest.mark.parametrize("killed", [False, True])
def test_without_news_from_the_process_that_forks_engines_are_given_up(
    monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    _wait_briefly_for_what_hangs(monkeypatch)

    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)
        os.kill(pool.forker._process, signal.SIGSTOP)
        if killed:
            os.kill(pool.working, signal.SIGKILL)
            now = time.monotonic()
            for later_s in range(14):
                pool.engines.look(now + later_s)
        else:
            monkeypatch.setattr(forker_module, "FORK_S", 0.2)
            with pytest.raises(ForkError, match="the forker says nothing"):
                await pool.engines.start()
            return
        with pytest.raises(EngineError, match="the forker hangs"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool(silent_s=5.0))


def test_a_process_that_cannot_be_made_is_an_error() -> None:
    forker = Forker(obedient)
    forker.close()
    engines = Engines(forker, [], lambda _: None, lambda _: None, lambda: None, silent_s=1.0)

    async def scenario() -> None:
        with pytest.raises(ForkError):
            await engines.start()
        await engines.stop()

    asyncio.run(scenario())


def test_engines_end_with_a_supervisor_that_is_killed() -> None:
    source = (
        "import asyncio, tests.unit.supervisor.test_engines as t\n"
        "pool = t.Pool()\n"
        "async def main():\n"
        "    pool.forker.start(asyncio.get_running_loop())\n"
        "    await pool.engines.start()\n"
        "    print(pool.working, pool.forker._process, flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        processes = [int(word) for word in supervisor.stdout.readline().split()]
        supervisor.kill()
    assert len(processes) == 2
    deadline = time.monotonic() + PATIENCE_S
    while any(map(lives, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_engine_that_a_start_forks_looks_for_garbage_again() -> None:
    code = (
        "import gc, socket\n"
        "from lvsd.engine import engine\n"
        "gc.disable()\n"
        "ours, theirs = socket.socketpair()\n"
        "ours.close()\n"
        "assert engine.run(theirs, None) == 0\n"
        "assert gc.isenabled()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
