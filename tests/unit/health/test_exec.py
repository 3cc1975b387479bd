"""``type = "exec"``: a program's exit status and first line."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
from pathlib import Path

import pytest

from lvsd.health.base import Target, UnhealthyError
from lvsd.health.checks.exec import MOST_KEPT
from lvsd.lab.wait import until
from tests.unit.health.servers import check

HERE = Target("192.0.2.1", 80)


def said(script: str, *words: str, target: Target = HERE, **values: object) -> str:
    """Return what a check finds that runs a script of the shell."""
    asked = check("exec", command=("/bin/sh", "-c", script, "plug-in", *words), **values)

    async def run() -> str:
        async with asyncio.timeout(60):
            return await asked.probe(target)

    return asyncio.run(run())


def test_exit_status_0_is_well_and_the_first_line_is_what_it_said() -> None:
    assert said("echo 'SSH OK - 2.0 | time=0.01s'; echo more") == "SSH OK - 2.0 | time=0.01s"
    assert said("true") == "exit status 0"


def test_a_warning_is_well_unless_it_is_not() -> None:
    assert said("echo load is 9; exit 1") == "load is 9"
    with pytest.raises(UnhealthyError, match=r"^exit status 1: load is 9$"):
        said("echo load is 9; exit 1", warning_is_up=False)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo CRITICAL; exit 2", "exit status 2: CRITICAL"),
        ("exit 3", "exit status 3"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        (r"printf '\033[2Jcleared'; exit 2", r"exit status 2: \x1b[2Jcleared"),
    ],
)
def test_everything_else_is_not_well(script: str, why: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{re.escape(why)}$"):
        said(script)


def test_the_program_is_told_whom_to_ask() -> None:
    script = 'echo "$1 $LVSD_ADDRESS $LVSD_PORT"'
    assert said(script, "{address}:{port}") == "192.0.2.1:80 192.0.2.1 80"
    six = Target("2001:db8::1", 0)
    assert said(script, "{address}/{port}/{}", target=six) == "2001:db8::1/0/{} 2001:db8::1 0"


def test_the_environment_is_lvsd_s_own_in_little_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    assert said("echo ${NOTIFY_SOCKET-none}; exit 0") == "none"


def test_output_without_end_is_read_and_forgotten() -> None:
    script = f"head -c {64 * MOST_KEPT} /dev/zero | tr '\\0' x"
    found = said(script)
    assert found.startswith("xxx")
    assert len(found) <= 200


def processes_of(mark: str) -> list[str]:
    """Return the processes that have this in their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in each.read_bytes() and each.parent.name != str(os.getpid()):
                found.append(each.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("script", ["sleep {} & sleep {}", "trap '' TERM; sleep {}; sleep {}"])
def test_all_that_it_started_is_killed_when_its_time_is_up(
    script: str, recwarn: pytest.WarningsRecorder
) -> None:
    mark = f"98765{os.getpid()}"

    async def run() -> None:
        asked = check("exec", command=("/bin/sh", "-c", script.format(mark, mark)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asked.probe(HERE)
        while processes_of(mark):  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(run(), 60))
    gc.collect()
    assert [str(each.message) for each in recwarn] == []


def test_what_it_leaves_behind_neither_holds_it_up_nor_stays() -> None:
    mark = f"98766{os.getpid()}"
    assert said(f"sleep {mark} & echo done") == "done"
    assert until(lambda: not processes_of(mark))


def test_a_program_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    for program in ("/nowhere/to/be/found", str(tmp_path), __file__):
        with pytest.raises(ValueError, match=r"is no program that can be run$"):
            check("exec", command=(program,))


def test_a_program_that_is_gone_since_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "plug-in"
    program.symlink_to(sys.executable)
    asked = check("exec", command=(str(program),))
    program.unlink()
    with pytest.raises(FileNotFoundError):
        asyncio.run(asked.probe(HERE))
