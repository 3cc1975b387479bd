"""``lvsd lab --shell``: shells, the wire and the log in a real tmux, and nothing left of it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import cli, processes, registry
from lvsd.lab.wait import PATIENCE, until
from lvsd.net.namespaces import NETNS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[3]
LVSD = [sys.executable, "-m", "lvsd"]
ESCAPE = re.compile(r"\x1b(\[[0-9;?>]*[ -/]*[@-~]|[()][0-9A-B]|.)")
"""What is no text in what a program writes to a terminal: ECMA-48's sequences, roughly."""

COLUMNS, LINES = 60, 24

ASK_S = 0.1
"""Between two questions to tmux, each of which starts a program."""


@dataclass
class Classroom:
    """A lab with a session, in another process; nobody is attached."""

    process: subprocess.Popen[str]
    name: str
    tmux: list[str]

    def tell(self, *words: str) -> str:
        """Have tmux do something; return what it says."""
        done = subprocess.run([*self.tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, window: str, text: str) -> None:
        """Type a line into a window."""
        self.tell("send-keys", "-t", f"lab:{window}", "-l", text)
        self.tell("send-keys", "-t", f"lab:{window}", "Enter")

    def screen(self, window: str) -> str:
        """Return what a window or a pane shows, and has shown."""
        return self.tell("capture-pane", "-pJ", "-S", "-", "-t", f"lab:{window}")

    def shows(self, window: str, pattern: str) -> bool:
        """Whether a pattern comes to stand in a window."""
        return until(
            lambda: bool(re.search(pattern, self.screen(window), re.MULTILINE)), every_s=ASK_S
        )

    @property
    def panes(self) -> dict[str, str]:
        """The panes of the wire, by title."""
        listed = self.tell("list-panes", "-t", "lab:wire", "-F", "#{pane_title}:wire.#{pane_index}")
        return dict(line.split(":") for line in listed.splitlines())

    def traces(self) -> list[str]:
        """Return what is left of it."""
        spaces = [path.name for path in NETNS.glob(f"{self.name}-*")]
        return [*spaces, *(str(path) for path in Path(self.tmux[2]).parents[1:2] if path.exists())]


def gone(pids: list[int]) -> bool:
    """Whether the processes have ended and were reaped, by init if need be."""
    return until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@contextlib.contextmanager
def standing() -> Iterator[Classroom]:
    """Start the lab of DR without a terminal."""
    argv = [*LVSD, "lab", "--mode", "dr", "--servers", "2", "--shell"]
    environment = os.environ | {"TMUX": "/nonexistent,1,0", "TERM": "dumb"}
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().partition(" ")[0]
        yield Classroom(process, name, process.stdout.readline().split()[:-1])
        process.terminate()


@pytest.fixture
def classroom() -> Iterator[Classroom]:
    """Start a lab that the test may end."""
    with standing() as lab:
        yield lab


@pytest.fixture(scope="module")
def shared() -> Iterator[Classroom]:
    """Start a lab that the tests leave as it is."""
    with standing() as lab:
        yield lab


def test_whoever_sits_there_asks_and_sees_the_packets_at_every_hop(shared: Classroom) -> None:
    names = shared.tell("list-windows", "-F", "#W").split()
    assert names == ["client", "director", "wire", "log", "router", "server1", "server2"]
    assert list(shared.panes) == [
        "client eth0",
        "director front",
        "director back",
        "router front",
        "real servers eth0",
    ]

    assert shared.shows("client", r"^client\$ ")
    for pane in shared.panes.values():
        assert shared.shows(pane, "listening on")
    shared.type("client", "curl -s http://$VIP/")

    assert shared.shows("client", r"^server\d 192\.0\.2\.100$")
    request, reply = (
        r"192\.0\.2\.100\.\d+ > 198\.51\.100\.10\.80: Flags \[P",
        r"198\.51\.100\.10\.80 > 192\.0\.2\.100\.\d+: Flags \[P",
    )
    seen = {
        title: [bool(re.search(each, shared.screen(pane))) for each in (request, reply)]
        for title, pane in shared.panes.items()
        if shared.shows(pane, "GET / HTTP" if title.startswith("director") else "200 OK")
    }
    assert seen == {
        "client eth0": [True, True],
        "director front": [True, False],
        "director back": [True, False],
        "router front": [False, True],
        "real servers eth0": [True, True],
    }


def test_lvsds_commands_work_in_every_host_without_options(shared: Classroom) -> None:
    shared.type("director", "clear; lvsadm -Ln; lvsd doctor >/dev/null; echo status $?")
    shared.type("server1", "clear; lvsd realserver status")

    assert shared.shows("director", r"-> 10\.0\.0\.11:80 +Route ")
    assert shared.shows("director", "^status 0$")
    assert shared.shows("server1", r"^good   198\.51\.100\.10 is on lo$")
    assert shared.shows("log.0", r"-> 10\.0\.0\.12:80 +Route ")
    assert shared.shows("log.1", r"^\d\d:\d\d:\d\d info: ready; version: \S+, services: ")


def test_a_new_window_and_one_from_there_and_half_of_it_are_of_the_same_host(
    shared: Classroom,
) -> None:
    def press(key: str, window: str) -> None:
        shared.tell("select-window", "-t", f"lab:{window}")
        [binding] = shared.tell("list-keys", "-T", "prefix", key).splitlines()
        shared.tell("run-shell", "-t", f"lab:{window}", shlex.split(binding)[-1])

    def shows_server1(pane: str) -> bool:
        shared.type(pane, "ip -br -4 address show eth0")
        return shared.shows(pane, r"^eth0@\S+ +UP +10\.0\.0\.11/24 $")

    for number, (key, window) in enumerate([("c", "server1"), ("c", "7")], 8):
        press(key, window)
        assert until(
            lambda n=number: len(shared.tell("list-windows").splitlines()) == n,  # type: ignore[misc]  # bound early
            every_s=ASK_S,
        )
        assert shows_server1(str(number - 1))
    press('"', "8")
    assert until(
        lambda: len(shared.tell("list-panes", "-t", "lab:8").splitlines()) == 2, every_s=ASK_S
    )
    assert shows_server1("8.1")
    assert shared.tell("list-windows", "-F", "#W").split()[-2:] == ["server1", "server1"]


@pytest.mark.parametrize(
    ("pane", "keys", "before", "after"),
    [
        ("wire.0", ["C-c"], "listening on eth0", "listening on eth0"),
        ("router", ["exit", "Enter"], "router# ", "router# "),
    ],
)
def test_what_was_ended_by_mistake_can_be_started_again(
    shared: Classroom, pane: str, keys: list[str], before: str, after: str
) -> None:
    def dead() -> str:
        return shared.tell("display-message", "-p", "-t", f"lab:{pane}", "#{pane_dead}").strip()

    assert shared.shows(pane, before)
    shared.tell("send-keys", "-t", f"lab:{pane}", *keys)
    assert until(lambda: dead() == "1", every_s=ASK_S)
    [binding] = shared.tell("list-keys", "-T", "prefix", "r").splitlines()
    shared.tell(binding.split()[-1], "-t", f"lab:{pane}")

    assert dead() != "1"
    assert shared.shows(pane, after)


def test_a_packet_is_one_line_of_the_wire(shared: Classroom) -> None:
    shared.type("client", "curl -s http://$VIP/")

    assert shared.shows(
        shared.panes["director back"],
        r"^02:00:0a:00:00:01 > 02:00:0a:00:00:0[bc], IPv4: 192\.0\.2\.100\.\d+ >"
        r" 198\.51\.100\.10\.80: Flags \[S\], length 0$",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_lab_goes_when_the_session_does(classroom: Classroom, number: signal.Signals) -> None:
    os.kill(int(classroom.tell("display-message", "-p", "#{pid}")), number)

    assert classroom.process.wait(60 * PATIENCE) == 0
    assert classroom.traces() == []


def test_the_session_goes_when_the_lab_does(classroom: Classroom) -> None:
    server = int(classroom.tell("display-message", "-p", "#{pid}"))

    classroom.process.terminate()

    assert classroom.process.wait(60 * PATIENCE) == 128 + signal.SIGTERM
    assert classroom.traces() == []
    assert gone([server])


def test_what_a_killed_lab_leaves_of_its_session_is_removed_on_request(
    classroom: Classroom,
) -> None:
    inside = processes.inside(path.name for path in NETNS.glob(f"{classroom.name}-*"))
    assert int(classroom.tell("display-message", "-p", "#{pid}")) in inside
    classroom.process.kill()
    classroom.process.wait()

    assert cli.main(["--remove"]) == 0

    assert classroom.traces() == []
    assert not (registry.REGISTRY / f"{classroom.name}.json").exists()
    assert gone(inside)


class Terminal:
    """A terminal of 60 columns at which ``lvsd lab --shell`` was typed."""

    def __init__(self, on_hang_up: signal.Handlers = signal.SIG_DFL, /, **environment: str) -> None:
        pid, self.descriptor = pty.fork()
        if not pid:
            signal.signal(signal.SIGHUP, on_hang_up)
            os.chdir(ROOT)
            size = ["stty", "cols", str(COLUMNS), "rows", str(LINES)]
            subprocess.run(size, check=True)
            os.execve(  # noqa: S606 - the very program, in the terminal that was made for it
                sys.executable,
                [*LVSD, "lab", "--servers", "1", "--shell"],
                os.environ | environment,
            )
        self.pid = pid
        self.text = ""

    def shows(self, text: str) -> bool:
        """Whether this comes to be written."""
        return until(lambda: self._read() and text in self.text)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.descriptor, keys.encode())

    def close(self) -> int:
        """Close the terminal's window; return the program's exit status as a shell does."""
        os.close(self.descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return status if status >= 0 else 128 - status

    def end(self) -> int:
        """Read to the end; return the program's exit status."""
        until(lambda: not self._read())
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.descriptor)
        return status

    def _read(self) -> bool:
        """Take what was written; return whether there may be more."""
        try:
            while select.select([self.descriptor], [], [], 0)[0]:
                raw = os.read(self.descriptor, 65536).decode("utf-8", "replace")
                self.text += ESCAPE.sub("", raw)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        return True


@pytest.mark.parametrize(("around", "key"), [("", "C-b"), ("/nonexistent,1,0", "C-a")])
def test_at_a_terminal_of_sixty_columns_detaching_leaves_the_lab(around: str, key: str) -> None:
    terminal = Terminal(TERM="xterm-256color", **({"TMUX": around} if around else {}))

    assert terminal.shows("client$ "), terminal.text
    assert terminal.shows(f"(nat)  {key} NUMBER: window  {key} d: leave"), terminal.text
    [name] = set(re.findall(r"(lvsd-\d+) \(nat\)", terminal.text))
    assert len(list(NETNS.glob(f"{name}-*"))) == 3
    terminal.type("curl -s http://$VIP/\r")
    assert terminal.shows("server1 192.0.2.100"), terminal.text
    terminal.type(f"{chr(ord(key[-1]) - ord('a') + 1)}d")

    assert terminal.end() == 0, terminal.text
    assert f"removing {name}" in terminal.text
    assert list(NETNS.glob(f"{name}-*")) == []


@pytest.mark.parametrize("on_hang_up", [signal.SIG_DFL, signal.SIG_IGN], ids=lambda it: it.name)
def test_the_lab_goes_with_its_terminal(on_hang_up: signal.Handlers) -> None:
    terminal = Terminal(on_hang_up, TERM="xterm-256color")
    assert terminal.shows("client$ "), terminal.text
    [name] = set(re.findall(r"(lvsd-\d+) \(nat\)", terminal.text))

    assert terminal.close() == 128 + signal.SIGHUP
    assert list(NETNS.glob(f"{name}-*")) == []


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("dumb", "TERM=dumb is no terminal that --shell can draw on"),
        ("nonesuch", "TERM=nonesuch is no terminal that --shell can draw on"),
        ("", "TERM is not set: no terminal that --shell can draw on"),
    ],
)
def test_a_terminal_that_cannot_be_drawn_on_is_refused(kind: str, complaint: str) -> None:
    terminal = Terminal(TERM=kind)

    assert terminal.end() == os.EX_USAGE
    assert terminal.text.strip() == (f"lvsd: {complaint}; say which it is, as TERM=xterm-256color")


def test_the_map_says_how_to_attach() -> None:
    argv = [*LVSD, "lab", "--servers", "1", "--shell", "--json", "--for", "0"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True)

    report = json.loads(shown.stdout)
    assert report["attach"].startswith("tmux -S ")
    assert sorted(report["hosts"]) == ["client", "director", "server1"]
