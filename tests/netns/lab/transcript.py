r"""Run what a page shows as typed in a lab's windows, and hold the output against the page.

The convention, for blocks marked ``console``:

- ``$ lvsd lab OPTIONS`` builds a lab; what comes after, up to the next one, happens in it.
  ``--shell`` is left out: the test sits in the windows' place, with their environment.
- ``HOST$ COMMAND`` or ``HOST# COMMAND`` is typed in that host's window: one bash per host and lab,
  in the host's directory, which keeps its variables and open files. A line that ends with a
  backslash goes on in the next one.
- The lines below, up to the next prompt, are what is printed, on stdout and stderr. ``…`` stands
  for anything in a line, and alone on a line for any number of lines. Blanks at a line's end are
  nothing.
- A command of tcpdump runs in a second window, from where it stands to the end of its block. Only
  its packets are in the page, not what it says of itself.

A block is run from top to bottom. Exit statuses count only where the page prints them.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lvsd.lab import cli, hosts
from lvsd.lab.wait import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.lab import Lab, Namespace

START: Final = "$ lvsd lab"
FENCE, ANY_FENCE = "```console", "```"
PROMPT: Final = re.compile(r"(?P<host>client|director|router|server\d+)[$#] (?P<command>.*)")
ANYTHING: Final = "…"

COMMAND_S: Final = 20.0 * PATIENCE
PACKETS_S: Final = 5.0 * PATIENCE
"""How long the packets of a tcpdump may take to be printed."""


@dataclass
class Command:
    """What is typed at a host, and what the page says it prints."""

    host: str
    text: str
    expected: list[str]

    @property
    def watches(self) -> bool:
        """Whether it runs in a second window."""
        return self.text.startswith("tcpdump ")


@dataclass
class Task:
    """What happens in one lab: under which heading, with which options, block by block."""

    heading: str
    options: list[str]
    blocks: list[list[Command]]


def tasks(page: str) -> list[Task]:
    """Return the tasks of a page in Markdown. Raise ValueError where it keeps no convention."""
    found: list[Task] = []
    heading = ""
    block: list[Command] | None = None
    for number, line in enumerate(page.splitlines(), 1):
        if block is None:
            heading = line.lstrip("# ") if line.startswith("#") else heading
            block = [] if line == FENCE else None
        elif line == ANY_FENCE:
            block = None
        elif line.startswith(START):
            options = line.removeprefix(START).replace(" --shell", "").split()
            found.append(Task(heading, options, []))
        elif not _goes_on(block, line):
            if not found:
                raise ValueError(f"line {number}: there is no lab for {line!r}")
            if not block:
                found[-1].blocks.append(block)
            prompt = PROMPT.fullmatch(line)
            if prompt:
                block.append(Command(prompt["host"], prompt["command"], []))
            elif block:
                block[-1].expected.append(line)
            else:
                raise ValueError(f"line {number}: no command prints {line!r}")
    return found


def _goes_on(block: list[Command], line: str) -> bool:
    """Add a line to the command that it belongs to, if that went on."""
    if not block or not block[-1].text.endswith("\\") or block[-1].expected:
        return False
    block[-1].text += "\n" + line
    return True


def pattern(expected: list[str]) -> re.Pattern[str]:
    """Return what the whole output has to match."""
    lines = [
        r"(?:.*\n)*?"
        if line.strip() == ANYTHING
        else ".*?".join(map(re.escape, line.rstrip().split(ANYTHING))) + r"[ \t]*\n"
        for line in expected
    ]
    return re.compile("".join(lines))


@contextlib.contextmanager
def classroom(options: list[str]) -> Iterator[Classroom]:
    """Build a lab and sit down in it."""
    with cli.standing(cli.parse(options)) as (lab, daemon), contextlib.ExitStack() as stack:
        windows = {}
        for space in lab.hosts:
            environment = hosts.environment(lab, space, daemon)
            windows[space.host] = stack.enter_context(_window(space, environment))
        yield Classroom(lab, windows)


@contextlib.contextmanager
def _window(space: Namespace, environment: dict[str, str]) -> Iterator[Window]:
    argv = hosts.inside(space, "bash", "--noprofile", "--norc")
    output = space.directory / "typed.log"
    with output.open("wb") as file:
        shell = space.spawn(
            argv,
            env=environment,
            cwd=space.directory,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            text=True,
        )
    yield Window(space, environment, shell, output)
    with contextlib.suppress(BrokenPipeError):
        shell.stdin.close()  # type: ignore[union-attr]  # it was asked for


@dataclass
class Window:
    """A host's shell."""

    space: Namespace
    environment: dict[str, str]
    shell: subprocess.Popen[Any]
    output: Path
    typed: int = 0

    def run(self, text: str) -> str:
        """Type a command; return what it has printed when it is done."""
        self.typed += 1
        mark = f"[done {self.typed}]\n"
        before = self.output.stat().st_size
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{text}\nprintf {mark!r}\n")
        self.shell.stdin.flush()

        def printed() -> str:
            return self.output.read_bytes()[before:].decode("utf-8", "replace")

        assert until(lambda: mark in printed(), COMMAND_S), (text, printed())
        return printed().partition(mark)[0]


@dataclass
class Watch:
    """A tcpdump in a second window of a host."""

    command: Command
    process: subprocess.Popen[Any]
    output: Path

    def printed(self) -> str:
        """Return its packets so far."""
        return self.output.read_text("utf-8", "replace")

    def end(self) -> str:
        """Press Ctrl-C when all the packets are there, or do not come; return them."""
        whole = pattern(self.command.expected)
        until(lambda: bool(whole.fullmatch(self.printed())), PACKETS_S)
        packets = self.printed()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(COMMAND_S)
        return packets


@dataclass
class Classroom:
    """A lab, and somebody in it who types."""

    lab: Lab
    windows: dict[str, Window]

    def run(self, block: list[Command]) -> Iterator[tuple[Command, str]]:
        """Run a block; yield its commands with what they printed."""
        watches = []
        for number, command in enumerate(block):
            window = self.windows[command.host]
            if command.watches:
                watches.append(self._watch(window, command, number))
            else:
                yield command, window.run(command.text)
        for watch in watches:
            yield watch.command, watch.end()

    def _watch(self, window: Window, command: Command, number: int) -> Watch:
        output = window.space.directory / f"watch-{number}.log"
        words = window.space.directory / f"watch-{number}.err"
        argv = ["bash", "--noprofile", "--norc", "-c", f"exec {command.text}"]
        with output.open("wb") as file, words.open("wb") as errors:
            process = window.space.spawn(
                hosts.inside(window.space, *argv),
                env=window.environment,
                stdout=file,
                stderr=errors,
            )
        assert until(lambda: b"listening on" in words.read_bytes()), words.read_text("utf-8")
        return Watch(command, process, output)
