"""docs/lab.md comes out as it says, task by task; `transcript` has the convention."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.lab.transcript import Task, classroom, pattern, tasks

pytestmark = pytest.mark.netns

PAGE = Path(__file__).parents[3] / "docs" / "lab.md"


@pytest.mark.parametrize("task", tasks(PAGE.read_text("utf-8")), ids=lambda task: task.heading)
def test_a_task_comes_out_as_the_page_says(task: Task) -> None:
    with classroom(task.options) as room:
        for block in task.blocks:
            for command, printed in room.run(block):
                said = "\n".join([f"{command.host}: {command.text}", *command.expected])
                assert pattern(command.expected).fullmatch(printed), f"{said}\nbut:\n{printed}"
