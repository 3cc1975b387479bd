"""Run the program that the first argument holds, as ``python -c`` does.

``python -m tests.program`` starts quickly, and ``python -c`` does not: see `tests.quick_start`. So
this is for programs that are tested by what they do, not by what they load.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.argv[0]
    exec(compile(sys.argv[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
