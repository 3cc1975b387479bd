"""What holds for all tests."""

from __future__ import annotations

import signal

# A job that a shell runs in the background ignores Ctrl-C, and so would all that it starts; tests
# of Ctrl-C need it as it is in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument and place, not by their content.

    Content may depend on the clock (a gzip header has the time in it), and then the workers of
    pytest-xdist collect different tests.
    """
    return argname if isinstance(val, bytes | bytearray | memoryview) else None
