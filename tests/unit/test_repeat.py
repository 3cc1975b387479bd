"""`make repeat` tells in one line how a run of the tests came out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPEAT = Path(__file__).parents[1] / "repeat"

MAKE = """\
#!/bin/sh
count=$(cat "$0.count" 2>/dev/null || echo 0)
echo $((count + 1)) >"$0.count"
echo "$@"
echo "12 passed, 1 skipped in 3.21s"
[ $count = 0 ] && exit 0
echo "FAILED tests/netns/test_it.py::test_it[v4] - assert False"
echo "===== 1 failed, 2 errors in 65.43s (0:01:05) ====="
exit 2
"""


def test_each_run_is_a_line_with_its_status_its_counts_and_what_failed(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    argv = [str(REPEAT), "--runs", "2", "--busy-half", "--logs", f"{tmp_path}/logs", "netns"]

    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )

    first, second = done.stdout.splitlines()
    assert done.returncode == 1
    assert first.startswith("run 1 of 2, idle: status 0, ")
    assert ": 12 passed, 1 skipped in 3.21s (" in first
    assert second.startswith("run 2 of 2, busy: status 2, ")
    assert (
        ": 12 passed, 1 skipped in 3.21s; 1 failed, 2 errors in 65.43s; "
        "FAILED tests/netns/test_it.py::test_it[v4] ("
    ) in second
    logs = sorted((tmp_path / "logs").iterdir())
    assert [log.read_text().splitlines()[0] for log in logs] == ["--keep-going netns"] * 2
