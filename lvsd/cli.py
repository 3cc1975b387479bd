"""The command ``lvsd``: run the daemon, check a configuration, look for faults, build the lab.

======  =========================================================================
status  when (sysexits.h)
======  =========================================================================
0       done; the daemon ended on SIGTERM
1       the doctor found a problem; a real server's status is not good; a diff found a change
64      the command line is wrong
65, 66  a file to be read is not what it should be, or cannot be read
69      there is no daemon, or it refuses
70      an error in lvsd itself
71      the kernel refused, or lacks something
73      a file cannot be written
77      a capability is missing
78      the configuration is wrong
130     Ctrl-C
141     nobody reads the output any more
======  =========================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import select
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lvsd import __version__
from lvsd.arguments import AnsweredError, Parser
from lvsd.entry import is_memory_short
from lvsd.errors import (
    ConfigError,
    LvsdError,
    UsageError,
    blames_environment,
    environment_error,
)
from lvsd.garbage import without_collections
from lvsd.journald import marked
from lvsd.printable import printable, to_json
from lvsd.signals import StopRequest, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


CONTROL = Path("/run/lvsd/control.sock")
PLACES = ("config", "directory", "control")
"""Options of cleanup that say where, one of them at most."""

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What writing to a full disk may end with."""

INTERRUPTED = 130
BROKEN_PIPE = 141

PASSED_ON = {
    "lab": "build a network of namespaces to try lvsd in; see 'lvsd lab --help'",
    "doctor": "say what keeps packets from getting through; see 'lvsd doctor --help'",
    "demo": "send real requests through lvsd; see 'lvsd demo --help'",
    "explain": "follow one connection, hop by hop; see 'lvsd explain --help'",
    "bench": "benchmark schedulers; see 'lvsd bench --help'",
    "realserver": "make this host a real server; see 'lvsd realserver --help'",
    "reload": "have a running lvsd read its file again; see 'lvsd reload --help'",
    "upgrade": "have a running lvsd go on as what is installed; see 'lvsd upgrade --help'",
    "diff": "say what a reload would change; see 'lvsd diff --help'",
    "save": "write what runs as a configuration; see 'lvsd save --help'",
}
"""Commands that read the rest of the command line themselves."""

MODULES = {
    "lab": "lvsd.lab.cli",
    "doctor": "lvsd.doctor.cli",
    "demo": "lvsd.lab.demo",
    "explain": "lvsd.explain.cli",
    "bench": "lvsd.bench.cli",
    "realserver": "lvsd.realserver.cli",
    "reload": "lvsd.changing.reload",
    "upgrade": "lvsd.changing.upgrade",
    "diff": "lvsd.changing.diff",
    "save": "lvsd.changing.save",
}
"""Where their ``main`` is; loaded when it is asked for, as the daemon needs none of them."""


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """Do what the command line says and return the exit status; never a traceback.

    ``stop`` notes signals already; for what is no daemon they do again what they did before.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if stop is not None:
        return _main(words, stop)
    with StopRequest() as own:
        return _main(words, own)


def _main(words: list[str], stop: StopRequest) -> int:
    debug = "--debug" in words
    _fill_streams()
    try:
        status = _status(words, stop)
        sys.stdout.flush()
    except ConfigError as error:
        _complain(*error.problems)
        return error.exit_status
    except LvsdError as error:
        _complain(f"lvsd: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError as error:
        if _reader_left():
            return BROKEN_PIPE
        return _unexpected(error, debug=debug)
    except OSError as error:
        if error.errno in UNWRITABLE or isinstance(error, io.UnsupportedOperation):
            _forget_output()
            _complain(f"lvsd: the output cannot be written: {error.strerror or 'it is closed'}")
            return os.EX_CANTCREAT
        return _refused(error, debug=debug)
    except MemoryError as error:
        return _refused(error, debug=debug)
    except BaseException as error:  # noqa: BLE001 - the last resort, which says how to report it
        return _unexpected(error, debug=debug)
    return status


def _status(words: list[str], stop: StopRequest) -> int:
    """Return the exit status; also after --help and --version, where argparse would exit."""
    try:
        return _dispatch(words, stop)
    except AnsweredError as end:
        return end.status


def _dispatch(words: list[str], stop: StopRequest) -> int:
    command = next((word for word in words if word != "--debug"), "")
    if command in PASSED_ON:
        stop.release()
        return _pass_on(command, words[words.index(command) + 1 :])
    options = _parser().parse_args(words)
    if options.command in PASSED_ON:
        raise UsageError(f"nothing may stand before the command {options.command}")
    if options.command == "cleanup":
        if options.test or options.json:
            raise UsageError("-t and --json do not go with cleanup")
        stop.release()
        return _clean_up(options)
    if options.config is None:
        raise UsageError("say which configuration with -c FILE, or see 'lvsd --help'")
    if options.test:
        stop.release()
        return _test(options.config, as_json=options.json)
    if options.json:
        raise UsageError("--json goes with -t only")
    return _run(options.config, stop)


def _run(path: Path, stop: StopRequest) -> int:
    with without_collections():  # until the daemon is ready, which looks for it then
        try:
            with stop.at_once():
                from lvsd.preparing import prepared  # noqa: PLC0415 - 'lvsd --help' is quick

                run = prepared(path)
        except Terminated:
            _tell("info", "lvsd: stopping before it was ready")
            return os.EX_OK
        return run(stop)


def _test(path: Path, *, as_json: bool) -> int:
    from lvsd.check import examine  # noqa: PLC0415 - 'lvsd --help' is quick

    found = examine(path)
    services = found.config.services if found.config else ()
    servers = sum(len(service.servers) for service in services)
    if as_json:
        report: dict[str, object] = {"file": str(path), "good": found.config is not None}
        if found.config:
            report |= {"services": len(services), "servers": servers}
        report["problems"] = [problem.as_json() for problem in found.problems]
        report["warnings"] = [warning.as_json() for warning in found.warnings]
        _say(to_json(report, indent=2))
        return os.EX_OK if found.config else os.EX_CONFIG
    if not found.config:
        raise ConfigError(path, [str(problem) for problem in found.problems])
    counts = [_count(len(services), "service"), _count(servers, "server")]
    if found.warnings:
        counts.append(_count(len(found.warnings), "warning"))
        _complain(*(warning.as_warning for warning in found.warnings))
    _say(f"{printable(str(path))}: configuration is good: {', '.join(counts)}")
    return os.EX_OK


def _clean_up(options: argparse.Namespace) -> int:
    from lvsd.daemon import cleanup  # noqa: PLC0415 - only this command needs it

    return cleanup(_control_socket(options))


def _control_socket(options: argparse.Namespace) -> Path:
    """Return where the daemon to clean up after had its control socket, beside its journal."""
    given = [option for option in PLACES if getattr(options, option) is not None]
    if len(given) > 1:
        raise UsageError(f"of {', '.join(f'--{option}' for option in PLACES)} give only one")
    if options.config is not None:
        from lvsd.config import place  # noqa: PLC0415 - the other ways need none

        found = place.place(options.config)
        if found.fault:
            whence = "as the file still says" if found.said else "the default"
            directory = found.control.parent
            _complain(found.fault, f"lvsd: cleaning up by {directory} anyway, {whence}")
        return found.control
    if options.control is not None:
        control: Path = options.control.absolute()
        return control
    return CONTROL if options.directory is None else options.directory.absolute() / CONTROL.name


def _pass_on(command: str, arguments: list[str]) -> int:
    where = MODULES[command]
    if command == "explain" and "--live" in arguments:
        where = "lvsd.lab.live_cli"  # needs the lab, which nothing else of explain does
    run: Callable[[list[str]], int] = import_module(where).main
    return run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="lvsd",
        description="Linux Virtual Server as a userspace daemon.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lvsd {__version__}")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="run with this file")
    parser.add_argument("-t", "--test", action="store_true", help="only check the file")
    parser.add_argument("--json", action="store_true", help="with -t: the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a crash")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    cleanup = commands.add_parser(
        "cleanup",
        help="remove what a killed daemon left behind",
        description="Remove what a killed daemon left behind: its nftables table, addresses, "
        "sysctls and control socket. It says what that was in its runtime directory.",
        allow_abbrev=False,
    )
    place = cleanup.add_argument_group("where its runtime directory is; one of")
    place.add_argument(
        "-c",
        "--config",
        type=Path,
        default=argparse.SUPPRESS,  # or it would undo the -c before the command
        metavar="FILE",
        help="what its configuration says",
    )
    place.add_argument(
        "--directory", type=Path, metavar="DIR", help=f"this one (default {CONTROL.parent})"
    )
    place.add_argument(
        "--control", type=Path, metavar="PATH", help="the one that its control socket is in"
    )
    for command, text in PASSED_ON.items():
        commands.add_parser(command, help=text, add_help=False)
    return parser


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(*lines: str) -> None:
    """Write lines about an error to stderr."""
    _tell("error", *lines)


def _tell(level: str, *lines: str) -> None:
    """Write lines to stderr, at journald's priority of a level where it listens."""
    with contextlib.suppress(OSError):
        sys.stderr.write("".join(f"{marked(printable(line), level)}\n" for line in lines))
        sys.stderr.flush()


def _unexpected(error: BaseException, *, debug: bool) -> int:
    """Own up to an error in lvsd itself, in one line, or in full with --debug.

    Where the memory is short that is what is said: anything may fail then, and in any way.
    """
    if debug:
        _complain(*traceback.format_exc().splitlines())
    if is_memory_short(error):
        return _out_of_memory()
    text = " ".join(f"{type(error).__name__}: {error}".split())
    how = "the traceback above" if debug else "the traceback that --debug shows"
    _complain(f"lvsd: this is an error in lvsd itself: {text}; please report it with {how}")
    return os.EX_SOFTWARE


def _refused(error: OSError | MemoryError, *, debug: bool) -> int:
    """Say what the machine refused, in one line; own up to anything else."""
    if isinstance(error, OSError) and not blames_environment(error):
        return _unexpected(error, debug=debug)
    if debug:
        _complain(*traceback.format_exc().splitlines())
    return _told(environment_error("run lvsd", error))


def _out_of_memory() -> int:
    return _told(environment_error("run lvsd", MemoryError()))


def _told(refusal: LvsdError) -> int:
    _complain(f"lvsd: {refusal}")
    return refusal.exit_status


def _reader_left() -> bool:
    """Return whether nobody reads stdout any more, and keep Python from flushing it again."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not any(state & select.POLLERR for _, state in poll.poll(0)):
        return False
    _forget_output()
    return True


def _forget_output() -> None:
    """Keep Python from writing at its end what could not be written before."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _fill_streams() -> None:
    """Put streams where a shell's ``>&-`` or ``2>&-`` has left none.

    What is written to stdout is lost then, and said to be; errors have nowhere to go.
    """
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open(encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
