"""Third parties' schedulers: measured like ours, and blamed by name."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from lvsd.bench.cli import main
from lvsd.bench.plugins import chosen
from lvsd.errors import LvsdError, PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = ["--servers", "4", "--seeds", "2", "--turns", "2", "--duration", "20", "--load", "2"]
MODULE = """
from schedulers.base import Scheduler, Server
from schedulers.wlc import WeightedLeastConnection

class ByPort(Scheduler):
    name = "byport"
    def __init__(self, flags=frozenset()):
        super().__init__(flags)
        self.servers = []
        self.asked = 0
    def add(self, server):
        self.servers.append(server)
    def remove(self, server):
        self.servers.remove(server)
    def pick(self, flow, now):
        self.asked += 1
        return self.servers[flow.source_port % len(self.servers)]

class Heir(WeightedLeastConnection):
    pass

class Twin(ByPort):
    pass

class Refusing(ByPort):
    def pick(self, flow, now):
        return None

class Raising(ByPort):
    def pick(self, flow, now):
        raise RuntimeError("out of luck")

class Late(ByPort):
    def pick(self, flow, now):
        if self.asked > 300:
            raise RuntimeError("tired")
        return super().pick(flow, now)

class RaisingAtRemove(ByPort):
    def remove(self, server):
        raise KeyError(server.port)

class Inventing(ByPort):
    def pick(self, flow, now):
        return Server(bytes((10, 9, 9, 9)), 80)

class Talking(ByPort):
    def pick(self, flow, now):
        return "the first one"

class TalkingLate(ByPort):
    def pick(self, flow, now):
        server = super().pick(flow, now)
        return "the second one" if self.asked > 300 else server

class Leaving(ByPort):
    def pick(self, flow, now):
        raise SystemExit(0)

class LeavingAtOnce(ByPort):
    def __init__(self):
        raise SystemExit(0)

class Deaf(ByPort):
    def pick(self):
        return self.servers[0]

class Meddling(ByPort):
    def changed(self, server):
        server.active = 0

class Quiescing(ByPort):
    def remove(self, server):
        super().remove(server)
        self.servers[0].weight = 0

class Wordy(ByPort):
    def tick(self, now):
        raise ValueError("\x1b[31m" + "x" * 5000)

class Printing(ByPort):
    def pick(self, flow, now):
        print("here I am")
        return super().pick(flow, now)

class Costly(ByPort):
    name = "$x{"

class Broken(ByPort):
    name = "two\\nlines"

class Greedy(ByPort):
    def __init__(self, coins):
        super().__init__()

class Unfinished(Scheduler):
    def add(self, server):
        pass

class NoScheduler:
    pass
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change into a folder with modules in it; what is imported there is forgotten."""
    (tmp_path / "third_party.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "third_broken.py").write_text("import third_nothing\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("third_party", "third_broken"):
        sys.modules.pop(name, None)


def failure(spec: str, *options: str) -> LvsdError:
    with pytest.raises(LvsdError) as raised:
        main(["schedulers", *QUICK, "--scheduler", spec, *options])
    return raised.value


def test_a_class_of_the_current_directory_is_measured_like_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schedulers", *QUICK, "--json", "--scheduler", "third_party:ByPort,rr"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parameters"]["schedulers"] == ["third_party:ByPort", "rr"]
    for part in ("speed", "memory", "quality"):
        assert [each["scheduler"] for each in report[part]] == ["byport", "rr"]
    (theirs, ours) = report["speed"]
    assert theirs["picks_per_s"]["mean"] > 0
    assert theirs["picks_per_s"]["mean"] > 0
    assert ours["picks_per_s"]["mean"] > 0
    assert report["quality"][0]["moved_unchanged"]["mean"] == 0


def test_a_scheduler_may_refuse_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, "--measure", "speed,quality", "--scheduler", "third_party:Refusing"]
    assert main(["schedulers", *words, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["quality"]
    assert found["refused"]["mean"] == 1
    assert found["elsewhere"]["mean"] == 0
    assert found["recovered_s"] is None


def test_every_scheduler_has_a_name_of_its_own() -> None:
    spec = "wlc,third_party:Heir,third_party:ByPort,third_party:Twin,wlc"
    assert [candidate.name for candidate in chosen(spec)] == [
        "wlc",
        "Heir",
        "third_party:ByPort",
        "third_party:Twin",
    ]


def test_a_name_that_fits_no_table_page_or_plot_gives_way_to_the_classs() -> None:
    spec = "third_party:Costly,third_party:Broken"
    assert [candidate.name for candidate in chosen(spec)] == ["Costly", "Broken"]


def test_what_a_scheduler_prints_is_kept_out_of_the_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*QUICK, "--measure", "memory", "--json", "--scheduler", "third_party:Printing"]
    assert main(["schedulers", *words]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["memory"][0]["scheduler"] == "byport"
    assert set(said.err.splitlines()) == {"here I am"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raising", ": pick raised RuntimeError: out of luck"),
        ("Late", ": pick raised RuntimeError: tired"),
        ("RaisingAtRemove", ": remove raised KeyError: 8080"),
        ("Inventing", ": pick returned 10.9.9.9 port 80, a server that was never added"),
        ("Talking", ": pick returned str where it has to be a server, or None"),
        ("TalkingLate", ": pick returned 'the second one', which is no server"),
        ("Leaving", ": pick raised SystemExit: 0"),
        ("LeavingAtOnce", " cannot be made: SystemExit: 0"),
        ("Deaf", ": a call raised TypeError: Deaf.pick() takes 1 positional argument but 3"),
        ("Meddling", ": it changes servers' weights or counts, which it may only read"),
        ("Quiescing", ": it changes servers' weights or counts, which it may only read"),
        ("Wordy", f": tick raised ValueError: ?[31m{'x' * 283}..."),
        ("Greedy", " cannot be made: TypeError: "),
        ("Unfinished", ": Unfinished does not define pick, remove"),
        ("NoScheduler", ": NoScheduler is no subclass of schedulers.base.Scheduler"),
    ],
)
def test_what_a_scheduler_does_wrong_is_its_authors(name: str, said: str) -> None:
    error = failure(f"third_party:{name}")
    assert isinstance(error, PluginError)
    assert error.exit_status == 70
    assert str(error).startswith(f"scheduler third_party:{name}{said}")


def test_a_module_that_lacks_another_is_its_authors() -> None:
    error = failure("third_broken:Any")
    assert isinstance(error, PluginError)
    assert str(error) == (
        "scheduler third_broken:Any cannot be imported:"
        " ModuleNotFoundError: No module named 'third_nothing'"
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("third_absent:Any", "no module third_absent, neither installed nor in "),
        ("third_party.deeper:Any", "no module third_party.deeper, neither installed nor in "),
        ("third_party:Absent", "third_party has no Absent"),
        ("third party:Any", "not of the form package.module:Class"),
        (":", "not of the form package.module:Class"),
        ("wrong", "no scheduler 'wrong'; there are: rr, wrr, lc, wlc, "),
        ("rr,,wlc", "no scheduler ''; there are: rr, wrr, lc, wlc, "),
    ],
)
def test_what_is_not_there_is_the_command_lines(spec: str, said: str) -> None:
    error = failure(spec)
    assert isinstance(error, UsageError)
    assert error.exit_status == 64
    assert said in str(error)


def test_a_current_directory_that_is_gone_is_said_to_be(here: Path) -> None:
    gone = here / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    error = failure("third_party:ByPort")
    os.chdir(here)
    assert str(error) == "--scheduler third_party:ByPort: the current directory is gone"
