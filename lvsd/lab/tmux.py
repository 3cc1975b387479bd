"""tmux with a server, a configuration and a socket of its own: nothing of the user's is touched."""

from __future__ import annotations

import contextlib
import curses
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError, UsageError
from lvsd.lab import hosts, processes
from lvsd.lab.program import find
from lvsd.lab.wait import PATIENCE
from lvsd.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lvsd.lab.namespace import Namespace
    from lvsd.lab.windows import Window

LEAST_COLUMNS, LEAST_LINES = 60, 24
"""What all panes find room in. A smaller terminal shrinks them when it is attached."""

STATUS_LINES: Final = 2

END_S: Final = 5.0 * PATIENCE
"""How long a terminal may take to be given back."""

USUAL_KEY, INNER_KEY = "C-b", "C-a"
"""What comes before a command; within another tmux, whose key is C-b, another one."""

CONFIGURATION: Final = """\
set -g prefix {key}
bind {key} send-prefix
bind c run-shell "{tmux} new-window -n '#{{@host}}' #{{@again}} \\\\; {inherit}"
bind '"' run-shell "{tmux} split-window -t '#{{pane_id}}' -v #{{@again}} \\\\; {leave}"
bind % run-shell "{tmux} split-window -t '#{{pane_id}}' -h #{{@again}} \\\\; {leave}"
bind r respawn-pane
set -s escape-time 20
set -g default-command ""
set -g history-limit 20000
set -g mouse on
set -g allow-rename off
set -g automatic-rename off
set -g display-time 3000
set -g remain-on-exit off
set -gq remain-on-exit-format "It has ended.  {key} r: start it again"
set -g main-pane-height {main_lines}
set -g pane-border-format " #{{pane_title}} "
set -g window-status-format " #I #W "
set -g window-status-current-format " #I #W "
set -g window-status-current-style reverse
set -g window-status-separator ""
set -g status-left ""
set -g status-right ""
set -g status {status_lines}
set -g status-format[1] " {title}  {key} NUMBER: window  {key} d: leave"
"""
"""Two lines of status, so that the windows have one to themselves; 60 columns are enough.

A new window, or half of one, is of the same host as the one where it was asked for. What ends in
the lab's own windows stays to be read, and can be started again; a shell that was asked for goes.
"""

INHERIT: Final = r"set -w @host '#{@host}' \\; set -w @again #{q:@again}"
LEAVE: Final = "set -p remain-on-exit off"


class Session:
    """The session of a lab, until `end`. Its server lives in a host's namespace.

    So it ends with the lab, also with one that was killed and is removed later.
    """

    def __init__(self, socket: Path, server: int) -> None:
        self._socket = socket
        self._server = server

    @property
    def attach_command(self) -> str:
        """What to type at any terminal."""
        return shlex.join(["tmux", "-S", str(self._socket), "attach"])

    def lives(self) -> bool:
        """Whether the session is there: not every window is closed."""
        return not select.select([self._server], [], [], 0)[0]

    def wait(self, seconds: float) -> None:
        """Return when the session has ended, or after that time."""
        select.select([self._server], [], [], seconds)

    def attach(self, seconds: float) -> None:
        """Give the terminal to the session until it ends, the user detaches, or the time is up.

        Raise KernelError where tmux does not take the terminal, Terminated where that is gone.
        """
        client = subprocess.Popen(_tmux(self._socket, "attach"), env=_outside())
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(seconds)
            refused = client.poll() not in {None, 0} and self.lives()
        finally:
            # The client gives the terminal back as it was, which it would not if it were killed.
            self.end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(END_S)
            processes.end([client])
        # The hang-up reaches tmux before its signal reaches us, if that is not ignored at all.
        if refused and _hung_up(sys.stdin.fileno()):
            raise Terminated(signal.SIGHUP)
        if refused:
            raise KernelError(
                "attach the lab's tmux to this terminal",
                f"it ended with status {client.returncode}",
                "set TERM to what the terminal is, such as xterm-256color",
            )

    def end(self) -> None:
        """End the session and its server."""
        deadline = time.monotonic() + END_S
        while self.lives() and time.monotonic() < deadline:
            subprocess.run(_tmux(self._socket, "kill-server"), capture_output=True, check=False)
            self.wait(0.5)


@contextlib.contextmanager
def session(
    space: Namespace, title: str, windows: Sequence[Window], environment: Mapping[str, str]
) -> Iterator[Session]:
    """Start a session with these windows in a host, the first one in front; end it afterwards.

    ``title`` is for the line of status. Raise KernelError when tmux refuses.
    """
    socket, file = space.directory / "tmux", space.directory / "tmux.conf"
    columns, lines = size()
    text = CONFIGURATION.format(
        title=title,
        key=prefix_key(),
        tmux="tmux -S #{socket_path}",
        inherit=INHERIT,
        leave=LEAVE,
        main_lines=lines * 3 // 5,
        status_lines=STATUS_LINES,
    )
    file.write_text(text, encoding="utf-8")
    made = _commands(windows, ("-x", str(columns), "-y", str(lines)))
    words = ["-f", str(file), *made, ";", "display-message", "-p", "#{pid}"]
    started = space.run(_tmux(socket, *words), env=dict(environment), check=False)
    if started.returncode or not started.stdout.strip().isdigit():
        said = (started.stderr or started.stdout).strip().partition("\n")[0]
        raise KernelError("start tmux for the lab", said, "see `tmux -V`: it takes 3.2 or later")
    server = os.pidfd_open(int(started.stdout))
    standing = Session(socket, server)
    try:
        yield standing
    finally:
        standing.end()
        os.close(server)


def size() -> tuple[int, int]:
    """Return the columns and lines to lay the panes out for: the terminal's, or the least.

    The lines of status are left out.
    """
    columns, lines = shutil.get_terminal_size((LEAST_COLUMNS, LEAST_LINES))
    return max(columns, LEAST_COLUMNS), max(lines, LEAST_LINES) - STATUS_LINES


def prefix_key() -> str:
    """Return the key that comes before tmux's commands here."""
    return INNER_KEY if "TMUX" in os.environ else USUAL_KEY


def check_terminal() -> None:
    """Raise UsageError unless tmux can draw on a terminal of the kind that $TERM says."""
    kind = os.environ.get("TERM", "")
    try:
        curses.setupterm(kind or "dumb", 1)
        able = all(map(curses.tigetstr, ("clear", "cup")))
    except curses.error:
        able = False
    if not able:
        said = f"TERM={kind} is no terminal that" if kind else "TERM is not set: no terminal that"
        raise UsageError(f"{said} --shell can draw on; say which it is, as TERM=xterm-256color")


def _commands(windows: Sequence[Window], room: Sequence[str]) -> Iterator[str]:
    """Yield the words of tmux's commands that make the windows; ``room`` is its size."""
    for number, window in enumerate(windows):
        first, *others = window.panes
        if number == 0:
            yield from ("new-session", "-d", "-s", "lab", *room)
        else:
            yield from (";", "new-window", "-d", "-t", f"lab:{number}")
        target = f"lab:{number}"
        place = ("-c", str(window.directory))
        yield from ("-n", window.name, *place, *first.argv)
        again = shlex.join([*place, *window.again])
        yield from (";", "set", "-w", "-t", target, "@again", again)
        yield from (";", "set", "-w", "-t", target, "@host", window.host)
        yield from (";", "set", "-w", "-t", target, "remain-on-exit", "on")
        yield from (";", "select-pane", "-t", f"{target}.0", "-T", first.title)
        for index, pane in enumerate(others, 1):
            yield from (";", "split-window", "-d", "-t", f"{target}.{index - 1}", *pane.argv)
            yield from (";", "select-pane", "-t", f"{target}.{index}", "-T", pane.title)
            yield from (";", "select-layout", "-t", target, window.layout)
        if others:
            yield from (";", "set", "-w", "-t", target, "pane-border-status", "top")
            yield from (";", "select-pane", "-t", f"{target}.0")


def _hung_up(terminal: int) -> bool:
    """Whether nobody is at the other end of a terminal any more."""
    poll = select.poll()
    poll.register(terminal, 0)  # a hang-up is always told
    return bool(poll.poll(0))


def _tmux(socket: Path, *words: str) -> list[str]:
    return [find("tmux"), "-S", str(socket), *words]


def _outside() -> dict[str, str]:
    """Return our environment without what says that another tmux is around."""
    return {key: value for key, value in os.environ.items() if key not in hosts.OF_ANOTHER_TMUX}
