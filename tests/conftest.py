"""What holds for all tests."""

from __future__ import annotations

import signal

# A job that a shell runs in the background ignores Ctrl-C, and so would all that it starts; tests
# of Ctrl-C need it as it is in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
