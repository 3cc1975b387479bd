"""Other code takes an lvsd's place: connections go on, nobody is refused, no client gets a RST."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.client import ControlClient
from lvsd.errors import ControlError
from lvsd.lab import Lab, programs
from lvsd.lab.director import Daemon
from lvsd.lab.load import Load
from lvsd.lab.notify import start_and_wait
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import PATIENCE, until
from tests.netns.modes.site import MAPPED, captured
from tests.netns.modes.test_connections_go_on import (
    GOES_ON,
    RESETS,
    WAYS,
    WEB,
    config,
    forget,
    other_engine,
    serving,
)
from tests.netns.traffic.site import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.lab import Namespace

ROOT = Path(__file__).parents[3]
PACKAGES = ("lvsd", "schedulers", "forwarders")
OTHER = "9.9.9"
"""The version of the changed code."""

LOOKS, LOOK_S = 20, 0.02
"""How often to look at what is open, and how long after another look, in seconds."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Have a real server for each way."""
    with Lab(name="lvsd-modes", ways=WAYS) as lab:
        for server in lab.servers:
            programs.nginx(server, ports=[MAPPED])
        yield lab


class Installed:
    """lvsd as a script that finds its code by a link, as another version would be put in."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.script = directory / "lvsd"
        self.script.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            f"sys.path.insert(0, '{directory / 'current'}')\n"
            "from lvsd.entry import lvsd\n"
            "sys.exit(lvsd())\n"
        )
        self.script.chmod(0o755)
        self.install("first")

    def install(self, name: str, *edits: tuple[str, str, str]) -> None:
        """Put in a copy of the code, each edit a file with what stands there, and what instead."""
        tree = self._directory / name
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, tree / package, ignore=ignored)
        for file, before, after in edits:
            text = (tree / file).read_text()
            assert before in text
            (tree / file).write_text(text.replace(before, after, 1))
        new = self._directory / "new"
        new.symlink_to(tree)
        new.replace(self._directory / "current")

    @contextlib.contextmanager
    def serving(self, director: Namespace, text: str) -> Iterator[Daemon]:
        """Run it; clear up after whatever the test made of it."""
        file, control = director.directory / "lvsd.toml", director.directory / "lvsd.sock"
        file.write_text(text.replace("[daemon]", f'[daemon]\ncontrol = "{control}"', 1))
        program = start_and_wait(director, [self.script, "-c", file], "lvsd")
        try:
            yield Daemon("lvsd", program.process, director, program.log_file, control, file)
        finally:
            program.stop()
            forget(director)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


NEXT_VERSION = ("lvsd/__init__.py", "__version__ = ", f'__version__ = "{OTHER}" or ')
BROKEN = ("lvsd/supervisor/supervisor.py", "import asyncio", "import no_such_module")
FAILING = """    def go_on(self, _):
        raise KernelError("go on", "it fails", "mend it")

    def never("""
FAILS_LATER = ("lvsd/io/divert.py", "    def go_on(", FAILING)
HANGING = """    if handed_over:
        import time
        time.sleep(3600)
"""
SLOWLY = """    import time
    time.sleep(3600)
    from lvsd.daemon"""
SLOW = ("lvsd/changing/upgrade.py", "    from lvsd.daemon", SLOWLY)
HANGS = ("lvsd/preparing.py", "    if handed_over:\n", HANGING)


def upgraded(daemon: Daemon, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Have the daemon go on with what is installed now."""
    argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", daemon.control, "--json"]
    return daemon.namespace.run([str(each) for each in argv], check=check)


def asked(daemon: Daemon, method: str) -> Any:
    with ControlClient(daemon.control) as client:
        return client.call(method)


def services(daemon: Daemon) -> Any:
    """Return what is wanted, as the daemon tells it."""
    with ControlClient(daemon.control) as client:
        return list(client.items("running"))


def processes(daemon: Daemon) -> list[str]:
    """Return the names of the daemon's process, and of those below it."""
    found, left = [], [daemon.process.pid]
    while left:
        process = left.pop()
        found.append(Path(f"/proc/{process}/comm").read_text().strip())
        children = Path(f"/proc/{process}/task/{process}/children").read_text()
        left += map(int, children.split())
    return sorted(found)


@pytest.mark.parametrize("local", [True, False], ids=["VIP of the host", "VIP of nobody"])
@pytest.mark.parametrize("way", WAYS)
def test_an_upgrade_breaks_no_connection_and_refuses_no_new_one(
    lab: Lab, way: str, *, local: bool
) -> None:
    load = Load(lab.client, (lab.vip.v4, lab.vip.v6), programs.payload(lab.client), port=WEB)
    with serving(lab, config(lab, way, local=local)) as daemon:
        with captured(lab.client, "eth0", RESETS) as resets:
            load.start()
            engine = daemon.engine
            told = [json.loads(upgraded(daemon).stdout) for _ in range(2)]
            assert daemon.engine != engine
            outcome = load.stop()
        load.close()
        assert (outcome.downloads, outcome.idle, outcome.broken) == (10, 10, [])
        assert outcome.waits_s
        assert min(each["connections"] for each in told) >= 20
        assert daemon.log.count(GOES_ON) == 2
        assert "were dropped" not in daemon.log
        assert complaints(daemon.log_file) == []
    assert resets == []


def test_the_code_that_is_installed_by_then_runs_and_knows_all_that_was_changed(
    lab: Lab, installed: Installed
) -> None:
    text = config(lab, "fullnat", local=True)
    with installed.serving(lab.director, text) as daemon, ControlClient(daemon.control) as client:
        service = {"protocol": "tcp", "address": lab.vip.v4, "port": WEB}
        place = {"address": "10.9.9.9", "port": 80}
        server = place | {"forward": "fullnat", "weight": 7}
        client.call(
            "change",
            commands=[
                {"command": "add_server", "service": service, "server": server},
                {"command": "drain", "service": service, "server": place, "deadline_s": 600},
                {"command": "set_timeouts", "udp_s": 77},
                {"command": "add_service", "service": {"fwmark": 7, "scheduler": "rr"}},
            ],
        )
        client.call("reload")
        client.call("change", commands=[{"command": "set_timeouts", "udp_s": 78}])
        before, was = services(daemon), asked(daemon, "list")
        status = asked(daemon, "status")
        process = daemon.process.pid
        installed.install("second", NEXT_VERSION)
        told = json.loads(upgraded(daemon).stdout)
        assert (told["before"], told["after"]) == (status["version"], OTHER)
        after = asked(daemon, "status")
        assert after["version"] == OTHER
        assert after["groups"]["reloads"] == status["groups"]["reloads"]
        assert after["groups"]["last_upgrade"]["after"] == OTHER
        assert after["uptime_s"] >= status["uptime_s"]
        assert services(daemon) == before
        assert _steady(asked(daemon, "list")) == _steady(was)
        assert daemon.process.poll() is None
        assert Path(f"/proc/{process}/comm").read_text() == "lvsd\n"


def _steady(listed: Any) -> Any:
    """Return what of a listing does not change by itself."""
    words = ("address", "port", "fwmark", "scheduler", "weight", "drain", "servers", "forward")
    if isinstance(listed, dict):
        return {word: _steady(listed[word]) for word in words if word in listed}
    return [_steady(each) for each in listed] if isinstance(listed, list) else listed


def test_those_that_listen_are_told_of_an_upgrade_before_lvsd_hangs_up(lab: Lab) -> None:
    told: list[str] = []
    with (
        serving(lab, config(lab, "nat", local=True)) as daemon,
        ControlClient(daemon.control) as client,
    ):
        events = client.events()
        upgraded(daemon)
        with pytest.raises(ControlError):
            told.extend(each["change"] for each in events)
    assert told == ["upgrading"]


def test_code_that_does_not_start_changes_nothing(lab: Lab, installed: Installed) -> None:
    with installed.serving(lab.director, config(lab, "nat", local=True)) as daemon:
        engine, before = daemon.engine, processes(daemon)
        installed.install("second", NEXT_VERSION, BROKEN)
        refused = upgraded(daemon, check=False)
        assert refused.returncode == os.EX_UNAVAILABLE
        assert "the new code does not start: " in refused.stderr
        assert "no_such_module" in refused.stderr
        assert "not upgraded: nothing has changed" in daemon.log
        assert (daemon.engine, processes(daemon)) == (engine, before)
        installed.install("third", NEXT_VERSION)
        assert json.loads(upgraded(daemon).stdout)["after"] == OTHER


def test_code_that_fails_once_it_runs_ends_with_a_line_and_a_start_goes_on(
    lab: Lab, installed: Installed
) -> None:
    text = config(lab, "fullnat", local=True)
    load = Load(lab.client, (lab.vip.v4, lab.vip.v6), programs.payload(lab.client), port=WEB)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(installed.serving(lab.director, text))
        with captured(lab.client, "eth0", RESETS) as resets:
            load.start()
            installed.install("second", NEXT_VERSION, FAILS_LATER)
            refused = upgraded(daemon, check=False)
            assert refused.returncode == os.EX_UNAVAILABLE
            assert "could not go on and has ended: go on: it fails" in refused.stderr
            assert daemon.process.wait(60 * PATIENCE) == os.EX_OSERR
            assert "it fails" in daemon.log.splitlines()[-1]
            other = stack.enter_context(serving(lab, text))
            outcome = load.stop()
        load.close()
        assert GOES_ON in other.log
        assert (outcome.downloads, outcome.idle, outcome.broken) == (10, 10, [])
    assert resets == []


def test_one_that_is_killed_between_the_two_leaves_what_a_start_takes_over(
    lab: Lab, installed: Installed
) -> None:
    text = config(lab, "nat", local=True)
    load = Load(lab.client, (lab.vip.v4, lab.vip.v6), programs.payload(lab.client), port=WEB)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(installed.serving(lab.director, text))
        with captured(lab.client, "eth0", RESETS) as resets:
            load.start()
            installed.install("second", NEXT_VERSION, HANGS)
            argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
            waiting = lab.director.spawn(argv, stderr=subprocess.PIPE)
            assert until(lambda: '"event": "upgrading"' in daemon.log)
            assert until(lambda: "second" in _loaded(daemon.process.pid))
            daemon.process.kill()
            daemon.process.wait()
            assert waiting.wait(60 * PATIENCE) == os.EX_UNAVAILABLE
            other = stack.enter_context(serving(lab, text))
            outcome = load.stop()
        load.close()
        assert GOES_ON in other.log
        assert (outcome.downloads, outcome.idle, outcome.broken) == (10, 10, [])
    assert resets == []


def _loaded(process: int) -> str:
    """Return what says that a process runs the code of the second tree: it is asleep in it."""
    try:
        waits = Path(f"/proc/{process}/wchan").read_text()
        environment = Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return ""
    return "second" if b"LVSD_HANDOVER" in environment and "nanosleep" in waits else ""


def test_ten_upgrades_leave_no_processes_and_no_descriptors_behind(lab: Lab) -> None:
    with serving(lab, config(lab, "fullnat", local=True)) as daemon:
        upgraded(daemon)
        before, descriptors = processes(daemon), _open(daemon)
        for _ in range(9):
            upgraded(daemon)
        assert processes(daemon) == before == ["lvsd", "lvsd-engine", "lvsd-forker"]
        assert _open(daemon) == descriptors
        assert asked(daemon, "status")["groups"]["upgrades"] == {"done": 10}
        assert daemon.stop() == 0
        assert complaints(daemon.log_file) == []


def _open(daemon: Daemon) -> list[list[str]]:
    """Return what the daemon's processes have open, by kind: all the time, not for a moment."""
    found = []
    for process in (daemon.process.pid, daemon.engine):
        looks = []
        for _ in range(LOOKS):
            looks.append(_kinds(process))
            time.sleep(LOOK_S)
        found.append(min(looks, key=len))
    return found


def _kinds(process: int) -> list[str]:
    kinds = []
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            kinds.append(str(each.readlink()).partition("[")[0])
    return sorted(kinds)


def test_of_two_upgrades_at_once_each_is_done_or_refused_with_a_reason(lab: Lab) -> None:
    with serving(lab, config(lab, "nat", local=True)) as daemon:
        argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
        both = [
            lab.director.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        said = [each.communicate(timeout=120 * PATIENCE) for each in both]
        statuses = [each.returncode for each in both]
        assert os.EX_OK in statuses
        for status, (_, error) in zip(statuses, said, strict=True):
            assert status == os.EX_OK or b"an upgrade is under way already" in error
        done = asked(daemon, "status")["groups"]["upgrades"]["done"]
        assert done == statuses.count(os.EX_OK)


def test_a_reload_that_comes_in_the_midst_is_done_by_the_new_code(lab: Lab) -> None:
    with serving(lab, config(lab, "nat", local=True)) as daemon:
        argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
        waiting = lab.director.spawn(argv)
        assert until(lambda: '"event": "upgrading"' in daemon.log)
        text = daemon.config_file.read_text()
        daemon.config_file.write_text(text + "[timeouts]\nudp_s = 55\n")
        os.kill(daemon.process.pid, signal.SIGHUP)
        assert waiting.wait(120 * PATIENCE) == 0
        assert until(lambda: asked(daemon, "timeouts")["udp_s"] == 55)


def test_reloads_all_the_time_beside_upgrades_are_done_or_refused_with_a_reason(lab: Lab) -> None:
    with serving(lab, config(lab, "nat", local=True)) as daemon:
        argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
        text, udp_s, refusals = daemon.config_file.read_text(), 60, list[str]()
        for _ in range(2):
            waiting = lab.director.spawn(argv)
            while waiting.poll() is None:
                udp_s += 1
                daemon.config_file.write_text(f"{text}[timeouts]\nudp_s = {udp_s}\n")
                try:
                    told, timeouts = asked(daemon, "reload"), asked(daemon, "timeouts")
                except ControlError as error:
                    refusals.append(str(error))
                else:
                    assert told["good"]
                    assert timeouts["udp_s"] == udp_s
            assert waiting.returncode == 0
        assert [each for each in refusals if not re.search("ask again|hung up", each)] == []
        assert asked(daemon, "reload")["good"]
        assert asked(daemon, "timeouts")["udp_s"] == udp_s
        assert complaints(daemon.log_file) == []


def fill(file: Path) -> None:
    """Write until there is no room left."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    free = os.statvfs(file)
    assert not free.f_bavail


def test_connections_that_would_be_lost_are_an_obstacle(lab: Lab, tmp_path: Path) -> None:
    text = config(lab, "fullnat", local=True)
    text = text.replace("[daemon]", f'[daemon]\ncontrol = "{tmp_path}/control.sock"', 1)
    with serving(lab, text) as daemon:
        visitor = Visitor(lab.client, lab.vip.v4, WEB)
        held = visitor.open(lab.client.addresses.v4)
        assert json.loads(upgraded(daemon).stdout)["connections"] == 1
        (state,) = tmp_path.glob("state-*")
        state.unlink()
        refused: list[str] = []

        def is_refused() -> bool:
            refused.append(upgraded(daemon, check=False).stderr)
            return "1 of 1 are not in the file" in refused[-1]

        engine = daemon.engine
        assert until(is_refused), refused
        assert daemon.engine == engine
        assert held.ask_again() == held.answer.server
        held.close()


def test_a_full_disk_is_no_obstacle_and_an_engine_that_dies_after_it_is_replaced(
    lab: Lab, tmp_path: Path
) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "lvsd-test", str(tmp_path)]
    subprocess.run(mount, check=True)
    try:
        text = config(lab, "fullnat", local=True)
        text = text.replace("[daemon]", f'[daemon]\ncontrol = "{tmp_path}/control.sock"', 1)
        with serving(lab, text) as daemon:
            fill(tmp_path / "filler")
            visitor = Visitor(lab.client, lab.vip.v4, WEB)
            held = visitor.open(lab.client.addresses.v4)
            assert json.loads(upgraded(daemon).stdout)["connections"] == 1
            assert held.ask_again() == held.answer.server
            engine = daemon.engine
            os.kill(engine, signal.SIGKILL)
            assert until(lambda: other_engine(daemon, engine))
            assert until(lambda: daemon.log.count(GOES_ON) == 2)
            assert held.ask_again() == held.answer.server
            held.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_stop_in_the_midst_of_it_is_a_stop(lab: Lab, installed: Installed) -> None:
    with installed.serving(lab.director, config(lab, "nat", local=True)) as daemon:
        installed.install("second", NEXT_VERSION, SLOW)
        argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
        waiting = lab.director.spawn(argv, stderr=subprocess.PIPE)
        assert until(lambda: len(processes(daemon)) > 3)  # the new code is being asked
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60 * PATIENCE) == 0
        assert waiting.wait(60 * PATIENCE) == os.EX_UNAVAILABLE
        assert '"event": "upgrading"' not in daemon.log
        assert '"event": "stopped"' in daemon.log


def test_a_stop_that_comes_while_the_new_code_starts_is_a_stop_too(
    lab: Lab, installed: Installed
) -> None:
    with installed.serving(lab.director, config(lab, "nat", local=True)) as daemon:
        argv = [sys.executable, "-m", "lvsd", "upgrade", "--control", str(daemon.control)]
        waiting = lab.director.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert until(lambda: '"event": "upgrading"' in daemon.log)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60 * PATIENCE) == 0
        waiting.communicate(timeout=60 * PATIENCE)
        assert waiting.returncode in {os.EX_OK, os.EX_UNAVAILABLE}
        assert "stopping" in daemon.log
        assert complaints(daemon.log_file) == []


STOPPED = """upgrade.unblock()
        __import__("os").kill(__import__("os").getpid(), 15)
"""
STOPPED_AT_ONCE = ("lvsd/supervisor/supervisor.py", "upgrade.unblock()\n", STOPPED)
TOO_FEW = """raise KernelError("keep a reserve", "too few", "raise it")
            runner = """
FAILS_AT_ONCE = ("lvsd/daemon.py", "runner = ", TOO_FEW)
NO_RESERVE = ("lvsd/daemon.py", "reserve = Reserve()\n", "reserve = Reserve(1 / 0)\n")


@pytest.mark.parametrize(
    ("edit", "status"),
    [(STOPPED_AT_ONCE, os.EX_OK), (FAILS_AT_ONCE, os.EX_OSERR), (NO_RESERVE, os.EX_SOFTWARE)],
    ids=["a stop", "before there is anything", "before there is a loop"],
)
@pytest.mark.parametrize("hold_s", [30, 0])
def test_what_ends_the_new_code_first_thing_leaves_what_a_stop_does(
    lab: Lab, installed: Installed, edit: tuple[str, str, str], status: int, hold_s: int
) -> None:
    text = config(lab, "fullnat", local=True, hold_s=hold_s)
    text += "[sysctl]\nforwarding = true\nreserve_local_ports = true\n"
    before = _changed(lab)
    with installed.serving(lab.director, text) as daemon:
        assert _changed(lab) != before
        visitor = Visitor(lab.client, lab.vip.v4, WEB)
        held = visitor.open(lab.client.addresses.v4)
        installed.install("second", NEXT_VERSION, edit)
        assert upgraded(daemon, check=False).returncode == os.EX_UNAVAILABLE
        assert daemon.process.wait(60 * PATIENCE) == status
        assert '"event": "upgrading"' in daemon.log
        held_back = ["table inet lvsd_hold"] if hold_s else []
        assert _changed(lab, daemon) == (*before[:-1], held_back)
        if hold_s:
            with serving(lab, text) as other:
                assert held.ask_again() == held.answer.server
                assert GOES_ON in other.log
        held.close()


def _changed(lab: Lab, daemon: Daemon | None = None) -> tuple[object, ...]:
    """Return what of the director an lvsd changes, and the files that it has besides the state."""
    director = lab.director
    sysctls = ["net.ipv4.ip_forward", "net.ipv4.ip_local_reserved_ports"]
    left = sorted({each.name for each in director.directory.glob("*.sock")} if daemon else [])
    return (
        director.run(["sysctl", *sysctls]).stdout,
        director.run(["ip", "-brief", "address"]).stdout,
        left,
        sorted(each.name for each in director.directory.glob("*journal*")),
        sorted(director.run(["nft", "list tables"]).stdout.splitlines()),
    )


def test_code_that_could_not_be_executed_is_found_out_by_asking_it(
    lab: Lab, installed: Installed
) -> None:
    unloadable = ("lvsd/preparing.py", "from __future__", "from nowhere import")
    with installed.serving(lab.director, config(lab, "nat", local=True)) as daemon:
        process, engine = daemon.process.pid, daemon.engine
        few = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (64, few[1]))
        refused = upgraded(daemon, check=False)
        resource.prlimit(process, resource.RLIMIT_NOFILE, few)
        assert "keep a reserve for the end: Too many open files" in refused.stderr
        installed.install("second", NEXT_VERSION, unloadable)
        assert "the new code does not start" in upgraded(daemon, check=False).stderr
        assert (daemon.process.poll(), daemon.engine) == (None, engine)


def test_an_upgrade_needs_no_forker_of_the_version_before(lab: Lab) -> None:
    with serving(lab, config(lab, "fullnat", local=True)) as daemon:
        children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
        (forker,) = map(int, children.read_text().split())
        os.kill(forker, signal.SIGKILL)
        assert until(lambda: "the forker ended" in daemon.log)
        held = Visitor(lab.client, lab.vip.v4, WEB).open(lab.client.addresses.v4)
        assert json.loads(upgraded(daemon).stdout)["connections"] == 1
        assert held.ask_again() == held.answer.server
        held.close()
        engine = daemon.engine
        os.kill(engine, signal.SIGKILL)  # there is one again that forks
        assert until(lambda: other_engine(daemon, engine))
        assert until(lambda: processes(daemon) == ["lvsd", "lvsd-engine", "lvsd-forker"])


def test_an_upgrade_is_refused_while_somebody_has_the_other_queue(lab: Lab) -> None:
    with serving(lab, config(lab, "nat", local=True)) as daemon:
        code = (
            "import time\n"
            "from lvsd.io.nfqueue import QueueSource\n"
            "source = QueueSource(1, lambda *_: None, clock=time.monotonic)\n"
            "source.open()\n"
            "print('has it', flush=True)\n"
            "time.sleep(3600)\n"
        )
        other = lab.director.spawn([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        refused = upgraded(daemon, check=False)
        other.kill()
        other.wait()
        assert refused.returncode == os.EX_UNAVAILABLE
        assert "take NFQUEUE 1: it is taken by netlink port" in refused.stderr
        assert json.loads(upgraded(daemon).stdout)["connections"] == 0
