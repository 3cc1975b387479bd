"""Engines as processes: one at work, a spare behind it, and what happens when they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab.wait import PATIENCE
from lvsd.supervisor import engines as engines_module
from lvsd.supervisor.engines import DEATHS, Engine, EngineError, Engines
from tests.unit.supervisor.an_engine import Did, Do

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATIENCE_S = 20.0 * PATIENCE
PROGRAM = (sys.executable, "-c", "from tests.unit.supervisor import an_engine; an_engine.run()")


class Pool:
    """Engines, and what they were told and said."""

    def __init__(self, *words: str, silent_s: float = 3600.0) -> None:
        self.heard: list[object] = []
        self.begun: list[int] = []
        self.engines = Engines(
            [*PROGRAM, *words], [Do, Did], self._begin, self.heard.append, silent_s=silent_s
        )

    def _begin(self, engine: Engine) -> None:
        self.begun.append(engine.process)
        engine.send(Do("begin"))

    @property
    def working(self) -> int:
        """The number of the working engine's process, 0 without one."""
        engine = self.engines.working
        return engine.process if engine else 0

    async def has_spare(self) -> int:
        """Wait for a spare engine that is there, and return its process."""
        await until(lambda: self.engines._spare)
        assert self.engines._spare is not None
        return self.engines._spare.process


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - whatever may come to hold
            await asyncio.sleep(0.005)


def run(scenario: Callable[[Pool], Coroutine[Any, Any, None]], pool: Pool) -> None:
    """Run a scenario with a pool that has started; end it, and see that no engine lives on."""

    async def around() -> None:
        try:
            await pool.engines.start()
            await scenario(pool)
        finally:
            await pool.engines.stop()

    asyncio.run(around())
    for process in pool.begun:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_an_engine_begins_and_answers_and_a_spare_waits_behind_it() -> None:
    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)
        spare = await pool.has_spare()
        assert pool.heard == [Did("begin", pool.working)]
        assert pool.begun == [pool.working]
        assert spare != pool.working

    run(scenario, Pool())


@pytest.mark.parametrize("how", ["kill -9", "exit", "babble"])
def test_the_spare_takes_the_place_of_an_engine_that_ends(how: str) -> None:
    async def scenario(pool: Pool) -> None:
        first, spare = pool.working, await pool.has_spare()
        if how == "kill -9":
            os.kill(first, signal.SIGKILL)
        else:
            pool.engines.send(Do(how))
        await until(lambda: Did("begin", spare) in pool.heard)
        assert (pool.working, pool.engines.replaced) == (spare, 1)
        assert await pool.has_spare() not in {first, spare}
        pool.engines.send(Do("more"))
        await until(lambda: Did("more", spare) in pool.heard)

    run(scenario, Pool())


def test_an_engine_that_says_nothing_is_killed_and_replaced() -> None:
    async def scenario(pool: Pool) -> None:
        first, spare = pool.working, await pool.has_spare()
        await until(lambda: pool.heard)
        pool.engines.send(Do("hang"))
        now = time.monotonic()
        pool.engines.look(now)
        assert pool.working == first
        pool.engines.look(now + 6.0)
        await until(lambda: pool.working == spare)

    run(scenario, Pool(silent_s=5.0))


def test_a_spare_that_ends_is_replaced_and_the_engine_works_on() -> None:
    async def scenario(pool: Pool) -> None:
        first, spare = pool.working, await pool.has_spare()
        os.kill(spare, signal.SIGKILL)
        await until(lambda: pool.engines._spare and pool.engines._spare.process != spare)
        assert (pool.working, pool.engines.replaced) == (first, 0)

    run(scenario, Pool())


def test_engines_that_end_again_and_again_are_given_up() -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(EngineError, match=f"{DEATHS} engines ended .* with status 7"):
            async with asyncio.timeout(PATIENCE_S):
                await pool.engines.given_up()

    run(scenario, Pool("mortal"))


def test_an_engine_that_does_not_end_when_asked_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines_module, "FAREWELL_S", 0.2)

    async def scenario(pool: Pool) -> None:
        await until(lambda: pool.heard)

    run(scenario, Pool("deaf"))


def test_a_program_that_cannot_be_started_is_an_error() -> None:
    engines = Engines(["/nonexistent"], [], lambda _: None, lambda _: None, silent_s=1.0)

    async def scenario() -> None:
        with pytest.raises(FileNotFoundError):
            await engines.start()
        await engines.stop()

    asyncio.run(scenario())


def test_engines_end_with_a_supervisor_that_is_killed() -> None:
    source = (
        "import asyncio, tests.unit.supervisor.test_engines as t\n"
        "async def main():\n"
        "    pool = t.Pool()\n"
        "    await pool.engines.start()\n"
        "    print(pool.working, await pool.has_spare(), flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        processes = [int(word) for word in supervisor.stdout.readline().split()]
        supervisor.kill()
    assert len(processes) == 2
    deadline = time.monotonic() + PATIENCE_S
    while any(os.path.exists(f"/proc/{each}") for each in processes):  # noqa: PTH110
        assert time.monotonic() < deadline
        time.sleep(0.01)
