"""Two trees beside each other, outside this one: a git revision's, and this one as it is now.

The benchmarks are this tree's for both; only the packages that they import differ. This tree's are
copied, so that work in it goes on while they run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from bench.harness import ROOT
from bench.micro import PACKAGES
from lvsd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "lvsd-bench-"


@dataclass(frozen=True, slots=True)
class Trees:
    """Where they are.

    Below ``folder``, ``harness`` holds ``bench``, and ``old`` and ``new`` hold the packages each.
    ``commit`` is the revision's, abbreviated; ``summary`` its subject. The folders' names are
    equally long, as even that can change how fast a program runs.
    """

    folder: Path
    harness: Path
    old: Path
    new: Path
    commit: str
    summary: str


@contextmanager
def beside(revision: str, root: Path = ROOT) -> Iterator[Trees]:
    """Make both trees, and remove them whatever happens.

    Raise UsageError when there is no such revision, no git checkout, or its list of worktrees
    names some that are gone.
    """
    commit = _commit(root, revision)
    _check_worktrees(root)
    short = _git(root, "rev-parse", "--short", commit)
    summary = _git(root, "log", "-1", "--format=%s", commit)
    folder = Path(mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")).resolve()
    trees = Trees(folder, folder / "harness", folder / "old", folder / "new", short, summary)
    try:
        for package in PACKAGES:
            _copy(root / package, trees.new / package)
        _copy(root / "bench", trees.harness / "bench")
        _git(root, "worktree", "add", "--quiet", "--detach", str(trees.old), commit)
        yield trees
    finally:
        _remove(root, folder, trees.old)


def _commit(root: Path, revision: str) -> str:
    """Return the hash of the commit that a revision names."""
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
    except UsageError as error:
        raise UsageError(f"{root} is no git checkout that can be read: {error}") from error
    if Path(top) != root.resolve():
        raise UsageError(f"{root} is no git checkout of its own; git's is {top}")
    try:
        return _git(
            root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
    except UsageError as error:
        raise UsageError(f"git knows no revision {revision!r}; see 'git log'") from error


def _check_worktrees(root: Path) -> None:
    """Refuse to start while a worktree is listed that is gone, or that a killed run has left."""
    for entry in _git(root, "worktree", "list", "--porcelain").split("\n\n"):
        first, *attributes = entry.splitlines()
        path = Path(first.removeprefix("worktree "))
        if any(each.partition(" ")[0] == "prunable" for each in attributes):
            raise UsageError(f"git lists a worktree that is gone, {path}; run 'git worktree prune'")
        if path.parent.name.startswith(PREFIX) and not _is_running(path.parent):
            raise UsageError(
                f"a comparison was killed and left {path}; run 'git worktree remove --force {path}'"
                f" and 'rm -r {path.parent}'"
            )


def _is_running(folder: Path) -> bool:
    """Tell whether the process that made such a folder still runs."""
    return Path("/proc", folder.name.removeprefix(PREFIX).partition("-")[0]).exists()


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _remove(root: Path, folder: Path, worktree: Path) -> None:
    """Remove the worktree and the folder; another Ctrl-C does not leave them half removed."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(UsageError):  # it may not have come to be
            _git(root, "worktree", "remove", "--force", str(worktree))
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(UsageError):
            _git(root, "worktree", "prune")
    finally:
        signal.signal(signal.SIGINT, before)


def _git(root: Path, *words: str) -> str:
    """Return what git prints. Raise UsageError with the first line of its complaint.

    What a surrounding git set in the environment is left out: it would name another checkout.
    """
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed, or not on the PATH") from error
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UsageError(f"git {words[0]}: {complaint[0]}")
    return done.stdout.strip()
