"""Read the configuration again while lvsd runs, and make of what runs what it says: all or nothing.

The file is read and checked in a thread. What differs from what is wanted now, be that of the file
before or of somebody's `lvsadm`, becomes a list of commands for the one door. A bad file changes
nothing. What no command can change is said to need a restart, and keeps nothing else from being
changed.

One reload after the other; systemd is told when one begins and ends (sd_notify(3), ``RELOADING``).
"""

from __future__ import annotations

import asyncio
import time
from asyncio import to_thread
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from lvsd import notify
from lvsd.assembly import service_config, wanted_of
from lvsd.config.differences import LIVE, TAKEN_BACK_AT_THE_END, differences
from lvsd.config.doubts import of_file
from lvsd.config.load import check, located
from lvsd.core.difference import difference
from lvsd.documents import services, tables
from lvsd.errors import ControlError, KernelError, LostError, PluginError
from lvsd.garbage import without_collections
from lvsd.supervisor.desk import Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from lvsd.config import model
    from lvsd.config.differences import Difference
    from lvsd.config.faults import Problem
    from lvsd.control.peers import Peer
    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceKey
    from lvsd.core.wanted import Wanted
    from lvsd.notify import Notifier
    from lvsd.supervisor.desk import Params
    from lvsd.supervisor.door import Door, Maker

SERVICES_TOGETHER: Final = 50
"""Services that are described in one go."""

MOST_TOLD: Final = 1000
"""Changes that an answer and the log tell one by one; of more they say how many."""

HANGUP: Final = "SIGHUP"
"""By whom a reload is that the signal asks for."""

log = structlog.get_logger("lvsd")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reload, asked for ``by`` somebody at ``at`` (UTC)."""

    at: datetime
    by: str
    file: Path
    changes: tuple[Difference, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is wrong with the file."""
    refusal: str = ""
    """Why a good file could not be done."""
    unfinished: str = ""
    """What the machine refused after the rest was done; it is tried again and again."""

    @property
    def result(self) -> str:
        """A few words."""
        if self.problems:
            return "wrong configuration, nothing changed"
        if self.refusal:
            return "refused, nothing changed"
        is_changed = any(not each.needs_restart for each in self.changes)
        left = sum(each.needs_restart for each in self.changes)
        result = "changed" if is_changed else "no change"
        result += f", {left} key{'s' * (left > 1)} not: a restart is needed" if left else ""
        return f"{result}, but the machine refuses a part" if self.unfinished else result

    @property
    def is_good(self) -> bool:
        """Whether what runs is now what the file says."""
        return not (self.problems or self.refusal or self.unfinished)

    def as_json(self) -> dict[str, object]:
        """Return what a client is told."""
        return {
            "result": self.result,
            "good": self.is_good,
            "file": str(self.file),
            "changes": [each.as_json() for each in self.changes[:MOST_TOLD]],
            "more_changes": max(len(self.changes) - MOST_TOLD, 0),
            "problems": [str(each) for each in self.problems],
            "refusal": self.refusal,
            "unfinished": self.unfinished,
        }

    def summary(self) -> dict[str, int | str]:
        """Return what ``lvsadm --status`` tells."""
        told: dict[str, int | str] = {
            "at": self.at.isoformat(timespec="seconds"),
            "by": self.by,
            "result": self.result,
            "changes": sum(not each.needs_restart for each in self.changes),
            "need_a_restart": sum(each.needs_restart for each in self.changes),
            "problems": len(self.problems),
        }
        if self.problems:
            told["first_problem"] = str(self.problems[0])
        more = {"refusal": self.refusal, "unfinished": self.unfinished}
        return told | {word: each for word, each in more.items() if each}


class Read(NamedTuple):
    """A file as it was read."""

    config: model.Config | None
    wanted: Wanted | None
    problems: list[Problem]
    warnings: list[Problem]


def read(file: Path) -> Read:
    """Read and check a file. Blocks."""
    with without_collections():
        config, problems = check(file)
        if config is None:
            return Read(None, None, problems, [])
        return Read(config, wanted_of(config), [], located(file, of_file(config)))


def in_force(now: model.Config, then: model.Config) -> model.Config:
    """Return a configuration as far as it can be put in force while another one is."""
    tables = {}
    for name, live in LIVE.items():
        before, after = getattr(now, name), getattr(then, name)
        words = [field.name for field in fields(before) if field.name not in live]
        kept = {word: getattr(before, word) for word in words}
        switches = TAKEN_BACK_AT_THE_END.get(name, ())
        kept |= {word: True for word in switches if getattr(before, word)}
        tables[name] = replace(after, **kept)
    return replace(then, **tables)


class Reloads:
    """Reloads a ``file``.

    ``change`` has what is wanted changed by the commands that are made of it, all or none, for
    somebody. ``prepare`` does what has to be done before a configuration is in force, ``follow``
    what else it says, and returns what the machine refused of that. ``state`` is how lvsd is, in a
    few words. ``before`` are the counters of the lvsd that was upgraded to this one.
    """

    def __init__(
        self,
        file: Path,
        config: model.Config,
        manager: Notifier,
        change: Callable[[Maker, str], Awaitable[object]],
        prepare: Callable[[model.Config], Awaitable[None]],
        follow: Callable[[model.Config], Awaitable[str]],
        state: Callable[[], str],
        before: Mapping[str, Mapping[str, int | str]] | None = None,
    ) -> None:
        self.file = file
        self.config = config
        """What is in force of the file that was read last."""
        self.last: Outcome | None = None
        self._manager = manager
        self._change = change
        self._prepare = prepare
        self._follow = follow
        self._state = state
        self._lock = asyncio.Lock()
        self._is_ready = False
        self.is_wanted = False
        """A signal has asked for one that is not begun."""
        self._tasks: set[asyncio.Task[Outcome]] = set()
        before = before or {}
        counted = before.get("reloads", {})
        self._done, self._failed = int(counted.get("done", 0)), int(counted.get("failed", 0))
        self._last_before = dict(before.get("last_reload", {}))

    def counters(self) -> dict[str, dict[str, int | str]]:
        """Return how many there were, and what came of the last one."""
        counted: dict[str, int | str] = {"done": self._done, "failed": self._failed}
        last = self.last.summary() if self.last else self._last_before
        return {"reloads": counted} | ({"last_reload": last} if last else {})

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Let none be under way in the block."""
        async with self._lock:
            yield

    def ready(self) -> None:
        """Take note that lvsd has started; do what was asked for before."""
        self._is_ready = True
        if self.is_wanted:
            self._begin(HANGUP)

    def signalled(self) -> None:
        """Reload for SIGHUP; one that comes while lvsd starts is heeded once that is done.

        All that come while one waits for its turn are that one.
        """
        is_waiting, self.is_wanted = self.is_wanted, True
        if self._is_ready and not is_waiting:
            self._begin(HANGUP)

    async def reload(self, by: str) -> Outcome:
        """Reload once those before are done, for somebody; return what came of it.

        It is done to its end even if nobody waits for that any more.
        """
        return await asyncio.shield(self._begin(by))

    def stop(self) -> None:
        """Begin nothing any more, and give up what waits."""
        self._is_ready = False
        for task in self._tasks:
            task.cancel()

    def _begin(self, by: str) -> asyncio.Task[Outcome]:
        task = asyncio.get_running_loop().create_task(self._in_turn(by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_turn(self, by: str) -> Outcome:
        async with self._lock:
            if by == HANGUP:
                self.is_wanted = False
            self._manager.send(notify.RELOADING, notify.monotonic_now())
            at = datetime.now(UTC)
            try:
                outcome = await self._reload(by, at)
            except Exception:
                log.exception("reload failed: this is an error in lvsd itself")
                fault = "an error in lvsd itself, which its log has"
                outcome = Outcome(at, by, self.file, refusal=fault)
            finally:
                self._manager.send(notify.READY)
            self.last = outcome
            said = f"last reload {at:%Y-%m-%d %H:%M:%S} UTC: {outcome.result}"
            self._manager.send(notify.status(f"{self._state()}; {said}"))
        return outcome

    async def _reload(self, by: str, at: datetime) -> Outcome:
        began = time.monotonic()
        found = await to_thread(read, self.file)
        if found.config is None or found.wanted is None:
            outcome = Outcome(at, by, self.file, problems=tuple(found.problems))
        else:
            for warning in found.warnings:
                log.warning(warning.text, file=str(self.file), line=warning.line, key=warning.key)
            blank = Outcome(at, by, self.file)
            outcome = await self._put_in_force(blank, found.config, found.wanted)
        self._say(outcome, time.monotonic() - began)
        return outcome

    async def _put_in_force(self, outcome: Outcome, then: model.Config, wanted: Wanted) -> Outcome:
        changes: list[Difference] = []

        def compared(now: Wanted) -> Sequence[Command]:
            found = difference(now, wanted)
            changes[:] = told(found, (now, self.config), (wanted, then))
            return found

        async def commands(now: Wanted) -> Sequence[Command]:
            return await to_thread(compared, now)

        try:
            await self._prepare(in_force(self.config, then))
            await self._change_twice(commands, f"reload by {outcome.by}")
        except (ControlError, PluginError, KernelError) as error:
            return replace(outcome, refusal=str(error))
        self.config = in_force(self.config, then)
        unfinished = await self._follow(self.config)
        return replace(outcome, changes=tuple(changes), unfinished=unfinished)

    async def _change_twice(self, commands: Maker, by: str) -> None:
        """Have it changed. Raise what `_change` does.

        An engine that ends in the middle of it may have ended for that, and so it is tried once
        more, by the next one.
        """
        try:
            await self._change(commands, by)
        except LostError:
            await self._change(commands, by)

    def _say(self, outcome: Outcome, seconds: float) -> None:
        """Log what came of it: a line for each change or error, and one for the whole."""
        self._done += outcome.is_good
        self._failed += not outcome.is_good
        for problem in outcome.problems:
            where = {"file": str(problem.file), "line": problem.line, "key": problem.key}
            log.error(problem.text, **where)
        for change in outcome.changes[:MOST_TOLD]:
            if change.needs_restart:
                log.warning("not changed by the reload", what=change.text)
            else:
                log.info("changed by the reload", what=change.text)
        facts: dict[str, Any] = {"result": outcome.result, "by": outcome.by}
        facts |= {"changes": outcome.summary()["changes"], "seconds": round(seconds, 3)}
        if outcome.refusal or outcome.unfinished:
            facts["error"] = outcome.refusal or outcome.unfinished
        (log.info if outcome.is_good else log.error)("reloaded", file=str(outcome.file), **facts)


def told(
    commands: Iterable[Command],
    now: tuple[Wanted, model.Config],
    then: tuple[Wanted, model.Config],
) -> list[Difference]:
    """Return what changes, in people's words: of services those that commands are about.

    What is on an interface, and how servers are checked, is no command's.
    """
    keys = dict.fromkeys(key for each in commands if (key := _service_of(each)) is not None)
    before, after = _beside(now[1]), _beside(then[1])
    keys |= dict.fromkeys(key for key in {**after, **before} if before.get(key) != after.get(key))
    documents = [tables(*each) | {"service": list(services(*each, keys))} for each in (now, then)]
    return list(differences(*documents))


def _beside(config: model.Config) -> dict[ServiceKey, object]:
    """Return what a configuration says of services, and no command does."""
    return {
        service_config(entry).key: (
            entry.interface,
            entry.check,
            {each.address: (each.check, each.backup) for each in entry.servers if entry.check},
        )
        for entry in config.services
        if entry.interface or entry.check
    }


def _service_of(command: Command) -> ServiceKey | None:
    """Return which service a command is about, None for all of them."""
    config = getattr(command, "config", None)
    found: ServiceKey | None = getattr(command, "service", None) or getattr(command, "key", None)
    return found or (config.key if config else None)


def methods(reloads: Reloads, door: Door) -> dict[str, Method]:
    """Return what clients may ask for."""

    async def run(params: Params, peer: Peer) -> object:
        file = params.get("file", str(reloads.file))
        if params.keys() - {"file"} or not isinstance(file, str):
            raise ValueError("reload has one parameter: file, a string")
        if not _is_same(file, reloads.file):
            raise ControlError(
                f"the daemon runs with {reloads.file}, not with {file}: "
                f"copy {file} over {reloads.file}, then reload"
            )
        return (await reloads.reload(str(peer))).as_json()

    async def running(params: Params, _: Peer) -> object:
        if params:
            raise ValueError("running has no parameters")
        return _portions(door.wanted, reloads.config)

    return {"reload": Method(run), "running": Method(running, changes=False)}


def _is_same(file: str, other: Path) -> bool:
    """Whether two paths lead to the same file; where there is none by now, whether they are one."""
    try:
        return other.samefile(file)
    except (OSError, ValueError):
        return file == str(other)


async def _portions(wanted: Wanted, config: model.Config) -> AsyncIterator[object]:
    """Yield a document of what is wanted in parts, each a list of one object."""
    parts = services(wanted, config, tuple(wanted.services))
    yield [tables(wanted, config)]
    while some := list(islice(parts, SERVICES_TOGETHER)):
        yield [{"service": some}]
