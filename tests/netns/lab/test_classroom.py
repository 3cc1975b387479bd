"""docs/lab.md comes out as it says, task by task; `transcript` has the convention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.netns.lab.ahead import ahead, wanted
from tests.netns.lab.transcript import Command, Task, classroom, pattern, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

pytestmark = pytest.mark.netns

PAGE = Path(__file__).parents[3] / "docs" / "lab.md"
TASKS = {task.heading: task for task in tasks(PAGE.read_text("utf-8"))}

Transcript: TypeAlias = list[tuple[Command, str]]


def carried_out(heading: str) -> Transcript:
    """Do a task in a lab of its own, up to what comes out otherwise; return what was printed."""
    task: Task = TASKS[heading]
    transcript: Transcript = []
    with classroom(task.options) as room:
        for block in task.blocks:
            for command, printed in room.run(block):
                transcript.append((command, printed))
                if not pattern(command.expected).fullmatch(printed):
                    return transcript
    return transcript


@pytest.fixture(scope="module")
def transcripts(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Transcript]]]:
    """Have the tasks done, those that are asked for."""
    headings = [str(heading) for heading in wanted(request, "heading")]
    with ahead(carried_out, headings) as done:
        yield dict(done)


def test_no_two_tasks_have_one_heading() -> None:
    assert len(tasks(PAGE.read_text("utf-8"))) == len(TASKS)


@pytest.mark.parametrize("heading", TASKS)
def test_a_task_comes_out_as_the_page_says(
    heading: str, transcripts: dict[str, Future[Transcript]]
) -> None:
    transcript = transcripts[heading].result()

    for command, printed in transcript:
        said = "\n".join([f"{command.host}: {command.text}", *command.expected])
        assert pattern(command.expected).fullmatch(printed), f"{said}\nbut:\n{printed}"
    assert len(transcript) == sum(map(len, TASKS[heading].blocks))
