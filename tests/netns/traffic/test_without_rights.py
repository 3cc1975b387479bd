"""Who lacks rights is told which in one line, with status 77, wherever they are missing."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import Lab
from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import both
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CAPABILITIES = ("net_admin", "net_raw")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Start from a director of which nobody in particular is a user."""
    with Lab(name="lvsd-rights", servers=1) as lab:
        probe = [*AS_NOBODY, sys.executable, "-c", "import lvsd.cli"]
        if lab.director.run(probe, check=False).returncode:
            pytest.skip("an ordinary user may not read this checkout: put it where everybody may")
        yield lab


@pytest.fixture(params=["closed", "listed", "own", "absent"])
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a runtime directory of root's: one that nobody may enter, or read; or one of theirs."""
    with tempfile.TemporaryDirectory(prefix="lvsd-rights-") as name:
        top = Path(name)
        top.chmod(0o755)
        directory = top / "run"
        if request.param != "absent":
            directory.mkdir()
            directory.chmod(0o750 if request.param == "closed" else 0o755)
            if request.param == "own":
                os.chown(directory, NOBODY, NOBODY)
        yield directory


def as_nobody(
    lab: Lab, capabilities: tuple[str, ...], *arguments: str | Path
) -> CompletedProcess[str]:
    """Run lvsd as nobody, with these capabilities and no other."""
    given = ",".join(f"+{each}" for each in capabilities)
    caps = [f"--inh-caps={given}", f"--ambient-caps={given}"] if given else []
    command = [*AS_NOBODY, *caps, sys.executable, "-m", "lvsd", *arguments]
    return lab.director.run(command, check=False, timeout=60 * PATIENCE)


def configured(lab: Lab, directory: Path) -> Path:
    file = directory.parent / "lvsd.toml"
    text = ["[daemon]", f'control = "{directory}/control.sock"', both(lab, 80, 8080)]
    file.write_text("\n".join(text), encoding="utf-8")
    return file


@pytest.mark.parametrize("capabilities", [(), *((each,) for each in CAPABILITIES)])
def test_a_start_without_all_rights_is_refused_in_one_line(
    lab: Lab, directory: Path, capabilities: tuple[str, ...]
) -> None:
    before = state(lab.director)
    tried = as_nobody(lab, capabilities, "-c", configured(lab, directory))
    assert (tried.returncode, tried.stdout) == (os.EX_NOPERM, "")
    assert re.fullmatch(r"lvsd: [^\n]*run lvsd as root[^\n]*\n", tried.stderr)
    assert changes(before, state(lab.director)) == {}


@pytest.mark.parametrize("directory", ["closed", "own"], indirect=True)
def test_the_check_of_a_file_needs_no_rights_on_its_runtime_directory(
    lab: Lab, directory: Path
) -> None:
    checked = as_nobody(lab, (), "-t", "-c", configured(lab, directory))
    assert (checked.returncode, checked.stdout.count("configuration is good")) == (os.EX_OK, 1)


@pytest.mark.parametrize("directory", ["closed", "own"], indirect=True)
@pytest.mark.parametrize("command", ["cleanup", "doctor"])
def test_other_commands_say_it_as_well(lab: Lab, directory: Path, command: str) -> None:
    tried = as_nobody(lab, (), command, "-c", configured(lab, directory))
    assert tried.returncode == os.EX_NOPERM
    assert re.fullmatch(r"lvsd: [^\n]*run lvsd as root[^\n]*\n", tried.stderr)
