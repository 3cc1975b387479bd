"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import structlog

from lvsd import __version__
from lvsd.cli import MODULES, PASSED_ON, main
from lvsd.errors import KernelError, PrivilegeError
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

GOOD = """
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
[[service.server]]
address = "10.0.0.11:8080"
[[service.server]]
address = "10.0.0.12:8080"
"""
SAID, DEFAULT = "as the file still says", "the default"
BAD = "[daemon]\nqueue = -1\nqueues = 2\n"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    return path


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """Put a daemon in the place of lvsd.daemon; its one function returns or raises."""

    def put(function: str, result: object) -> None:
        def act(*arguments: object) -> object:
            if isinstance(result, BaseException):
                raise result
            return result(*arguments) if callable(result) else result

        module = ModuleType("lvsd.daemon")
        setattr(module, function, act)
        monkeypatch.setitem(sys.modules, "lvsd.daemon", module)
        monkeypatch.setattr("lvsd.log.configure", lambda _level, _format: None)

    return put


def lvsd(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lvsd", *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
    )


def test_a_good_configuration_is_said_to_be_good(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-t", "-c", str(good)]) == 0
    assert capsys.readouterr() == (f"{good}: configuration is good: 1 service, 2 servers\n", "")


def test_a_bad_configuration_is_all_its_errors_on_stderr_and_status_78(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["-t", "-c", str(bad)])
    out, err = capsys.readouterr()
    assert (status, out) == (78, "")
    assert err == (
        f"{bad}:2: daemon.queue: -1 is too small, expected a whole number from 0 to 65535\n"
        f"{bad}:3: daemon.queues: unknown (did you mean queue?), expected a key of daemon "
        "(see docs/configuration.md)\n"
    )


def test_a_bad_configuration_does_not_run(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", str(bad)]) == 78
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_json_reports_the_same_for_programs(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-t", "--json", "-c", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(good),
        "good": True,
        "services": 1,
        "servers": 2,
        "problems": [],
        "warnings": [],
    }
    assert main(["-t", "--json", "-c", str(bad)]) == 78
    report = json.loads(capsys.readouterr().out)
    assert [(found["line"], found["key"]) for found in report["problems"]] == [
        (2, "daemon.queue"),
        (3, "daemon.queues"),
    ]


def test_an_interface_that_is_not_there_is_a_warning_and_the_file_stays_good(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(good.read_text().replace('"tcp"', '"tcp"\ninterface = "no-such-link"'))
    text = '"no-such-link" is no interface of this machine now'
    assert main(["-t", "-c", str(good)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{good}: configuration is good: 1 service, 2 servers, 1 warning\n"
    assert err == f"{good}:6: warning: service.interface: {text}\n"
    assert main(["-t", "--json", "-c", str(good)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["good"], report["problems"]) == (True, [])
    assert report["warnings"] == [{"line": 6, "key": "service.interface", "text": text}]


def test_what_is_doubtful_in_the_file_is_logged_at_start(
    good: Path, daemon: Callable[[str, object], None]
) -> None:
    good.write_text(good.read_text().partition("[[service.server]]")[0])
    daemon("run", 0)
    with structlog.testing.capture_logs() as logged:
        assert main(["-c", str(good)]) == 0
    (warning,) = logged
    assert warning == {
        "event": "it has no server: every new connection is refused",
        "file": str(good),
        "line": 2,
        "key": "service",
        "log_level": "warning",
    }


def test_a_files_name_cannot_make_a_line_look_like_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a\n\x1b[2J\u202elmot"
    for text, status in ((GOOD, 0), (BAD, 78)):
        file.write_text(text)
        for words in (["-t"], ["-t", "--json"]):
            assert main([*words, "-c", str(file)]) == status
            out, err = capsys.readouterr()
            assert all(line.isprintable() for line in (out + err).splitlines())
            if words == ["-t"]:
                assert all("\\x1b[2J\\u202elmot" in line for line in (out + err).splitlines())
            else:
                assert json.loads(out)["file"] == str(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which configuration with -c FILE, or see 'lvsd --help'"),
        (["-t"], "say which configuration with -c FILE, or see 'lvsd --help'"),
        (["-c"], "argument -c/--config: expected one argument; see 'lvsd --help'"),
        (["--conf", "x"], "argument COMMAND: invalid choice: 'x'"),
        (["--json", "-c", "x"], "--json goes with -t only"),
        (["-c", "x", "lab"], "nothing may stand before the command lab"),
        (["cleanup", "x"], "unrecognized arguments: x; see 'lvsd --help'"),
        (["cleanup", "-c", "x", "--directory", "y"], "of --config, --directory, --control give"),
        (["-c", "x", "cleanup", "--control", "y"], "of --config, --directory, --control give"),
        (["cleanup", "--directory", "x", "--control", "y"], "of --config, --directory, --control"),
        (["-t", "-c", "x", "cleanup"], "-t and --json do not go with cleanup"),
        (["--json", "cleanup"], "-t and --json do not go with cleanup"),
        (["cleanup", "--frobnicate"], "unrecognized arguments: --frobnicate; see 'lvsd --help'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_64(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(arguments)
    out, err = capsys.readouterr()
    assert (status, out) == (64, "")
    assert err.startswith(f"lvsd: {message}")
    assert len(err.splitlines()) == 1


def test_the_version_and_the_help_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"lvsd {__version__}\n", "")
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [word for word in ("-c", "-t", "cleanup", "lab", "demo") if word not in out] == []


def test_running_hands_the_configuration_to_the_daemon_and_returns_its_status(
    good: Path, daemon: Callable[[str, object], None]
) -> None:
    daemon("run", lambda file, config, _: len(config.services) + 40 + (file != good))
    assert main(["-c", str(good)]) == 41


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            KernelError("bind queue 0", OSError(16, "Device or resource busy"), "end the other"),
            71,
            "lvsd: bind queue 0: Device or resource busy; end the other\n",
        ),
        (
            PrivilegeError("open nfnetlink", "not permitted", "run as root"),
            77,
            "lvsd: open nfnetlink: not permitted; run as root\n",
        ),
        (
            PermissionError(13, "Permission denied", "/run/lvsd"),
            77,
            "lvsd: use /run/lvsd: Permission denied; run lvsd as root\n",
        ),
        (
            OSError(24, "Too many open files"),
            71,
            (
                "lvsd: run lvsd: Too many open files; "
                "raise the limit of open files (`ulimit -n`, LimitNOFILE=)\n"
            ),
        ),
        (
            MemoryError(),
            71,
            "lvsd: run lvsd: out of memory; give it more memory, or less to do\n",
        ),
        (
            SystemExit(0),
            70,
            (
                "lvsd: this is an error in lvsd itself: SystemExit: 0; "
                "please report it with the traceback that --debug shows\n"
            ),
        ),
        (KeyboardInterrupt(), 130, ""),
        (
            RuntimeError("two\nlines"),
            70,
            (
                "lvsd: this is an error in lvsd itself: RuntimeError: two lines; "
                "please report it with the traceback that --debug shows\n"
            ),
        ),
        (
            BrokenPipeError(32, "Broken pipe"),
            70,
            (
                "lvsd: this is an error in lvsd itself: BrokenPipeError: [Errno 32] Broken pipe; "
                "please report it with the traceback that --debug shows\n"
            ),
        ),
    ],
    ids=[
        "kernel",
        "privilege",
        "permission",
        "room",
        "memory",
        "exit",
        "interrupt",
        "unexpected",
        "pipe",
    ],
)
def test_an_error_is_one_line_and_its_own_status(
    good: Path,
    daemon: Callable[[str, object], None],
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    text: str,
) -> None:
    daemon("run", error)
    assert main(["-c", str(good)]) == status
    assert capfd.readouterr() == ("", text)


def test_debug_shows_the_traceback_of_an_unexpected_error(
    good: Path, daemon: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    daemon("run", RuntimeError("oops"))
    assert main(["--debug", "-c", str(good)]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].endswith("RuntimeError: oops; please report it with the traceback above")


@pytest.mark.parametrize(
    ("arguments", "control"),
    [
        ([], "/run/lvsd/control.sock"),
        (["--directory", "/run/other"], "/run/other/control.sock"),
        (["--control", "/run/third/a.sock"], "/run/third/a.sock"),
    ],
)
def test_cleanup_is_told_the_control_socket(
    daemon: Callable[[str, object], None], arguments: list[str], control: str
) -> None:
    asked: list[Path] = []

    def clean_up(path: Path) -> int:
        asked.append(path)
        return 3

    daemon("cleanup", clean_up)
    assert main(["cleanup", *arguments]) == 3
    assert asked == [Path(control)]


@pytest.mark.parametrize("words", ["-c {} cleanup", "cleanup -c {}", "cleanup --config={}"])
def test_cleanup_takes_the_control_socket_from_the_configuration(
    tmp_path: Path, daemon: Callable[[str, object], None], words: str
) -> None:
    path = tmp_path / "lvsd.toml"
    path.write_text('[daemon]\ncontrol = "/run/fourth/control.sock"\n' + GOOD)
    daemon("cleanup", lambda control: 3 if control == Path("/run/fourth/control.sock") else 4)
    assert main(words.format(path).split()) == 3


@pytest.mark.parametrize(
    ("text", "directory", "whence"),
    [
        (
            '[daemon]\ncontrol = "/run/own/a.sock"\nqueue = -1\n',
            "/run/own",
            SAID,
        ),
        ('daemon.control = "/run/own/a.sock"\nservice = [\n', "/run/own", SAID),
        (
            "[daemon]\n control='/run/own/a.sock' # here\n[[x\n",
            "/run/own",
            SAID,
        ),
        ('[daemon]\ncontrol = "own/a.sock"\n', "/run/lvsd", DEFAULT),
        ('[daemon]\ncontrol = "/run/own\n', "/run/lvsd", DEFAULT),
        ("[daemon]\nqueue = -1\n", "/run/lvsd", DEFAULT),
        ("daemon = 1\n", "/run/lvsd", DEFAULT),
        ("\udcff", "/run/lvsd", DEFAULT),
        (None, "/run/lvsd", DEFAULT),
    ],
    ids=["value", "dotted", "quote", "relative", "open", "none", "no-table", "no-text", "no-file"],
)
def test_cleanup_goes_on_though_the_configuration_is_broken(
    tmp_path: Path,
    daemon: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    directory: str,
    whence: str,
) -> None:
    path = tmp_path / "lvsd.toml"
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    asked: list[Path] = []

    def clean_up(place: Path) -> int:
        asked.append(place)
        return 0

    daemon("cleanup", clean_up)
    assert main(["cleanup", "-c", str(path)]) == 0
    assert [each.parent for each in asked] == [Path(directory)]
    fault, note = capsys.readouterr().err.splitlines()
    assert fault.startswith(str(path))
    assert note == f"lvsd: cleaning up by {directory} anyway, {whence}"


OWN_ARGUMENTS = {
    "bench": "lvsd.bench.cli",
    "demo": "lvsd.lab.demo",
    "diff": "lvsd.changing.diff",
    "doctor": "lvsd.doctor.cli",
    "explain": "lvsd.explain.cli",
    "lab": "lvsd.lab.cli",
    "realserver": "lvsd.realserver.cli",
    "reload": "lvsd.changing.reload",
    "save": "lvsd.changing.save",
    "upgrade": "lvsd.changing.upgrade",
}
"""Commands that read the rest of the command line themselves -> where."""


def test_every_command_that_is_passed_on_is_known_here() -> None:
    assert sorted(PASSED_ON) == sorted(OWN_ARGUMENTS)
    assert MODULES == OWN_ARGUMENTS


def test_only_a_live_explanation_needs_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[str]] = []

    def act(arguments: list[str]) -> int:
        heard.append(arguments)
        return 5

    fake = ModuleType("lvsd.lab.live_cli")
    fake.main = act  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lvsd.lab.live_cli", fake)
    assert main(["explain", "--mode", "dr", "--live"]) == 5
    assert heard == [["--mode", "dr", "--live"]]


@pytest.mark.parametrize(("command", "module"), OWN_ARGUMENTS.items())
def test_some_commands_read_their_own_arguments(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    heard: list[list[str]] = []

    def act(arguments: list[str]) -> int:
        heard.append(arguments)
        return 5

    fake = ModuleType(module)
    fake.main = act  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, fake)
    assert main(["--debug", command, "--help", "-c", "x", "--", "y"]) == 5
    assert heard == [["--help", "-c", "x", "--", "y"]]


WRITING = pytest.mark.parametrize(
    "words", ["-t -c packaging/lvsd.toml", "explain", "doctor --help"]
)


@WRITING
def test_output_that_has_no_room_is_no_error_of_ours(words: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = lvsd(*words.split(), stdout=full.fileno())
    assert done.returncode == 73
    (line,) = done.stderr.splitlines()
    assert line.startswith("lvsd: the output cannot be written: No space left")


@WRITING
def test_output_that_is_closed_is_no_error_of_ours(words: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m lvsd {words} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 73
    (line,) = done.stderr.splitlines()
    assert line.startswith("lvsd: the output cannot be written: it is closed")


def test_without_stderr_all_goes_on() -> None:
    command = f"{shlex.quote(sys.executable)} -m lvsd explain --json 2>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["mode"] == "nat"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = lvsd("-t", "-c", "packaging/lvsd.toml", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_checking_needs_neither_root_nor_the_daemons_modules(good: Path) -> None:
    program = (
        "import sys; from lvsd.cli import main; status = main(sys.argv[1:]); "
        "print(sorted({'lvsd.daemon', 'netfilterqueue', 'uvloop'} & set(sys.modules)), status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "-t", "-c", str(good)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * PATIENCE,
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_python_dash_m_runs_the_same_command() -> None:
    done = lvsd("-t", "-c", "packaging/lvsd.toml")
    expected = "packaging/lvsd.toml: configuration is good: 0 services, 0 servers\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
