"""Two trees of a small git repository, and what is left of them afterwards: nothing."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from bench.trees import beside
from lvsd.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.net")


def git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *IDENTITY, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for name in ("lvsd", "schedulers", "forwarders", "bench"):
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("AGE = 'old'\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Begin")
    for name in ("lvsd", "bench"):
        (root / name / "__init__.py").write_text("AGE = 'new'\n")
    return root


def worktrees(root: Path) -> int:
    return git(root, "worktree", "list").count("\n")


def test_the_revisions_packages_are_beside_this_trees_as_it_is_now(repository: Path) -> None:
    with beside("HEAD", repository) as trees:
        (repository / "lvsd" / "__init__.py").write_text("AGE = 'newer'\n")
        texts = [
            (folder / "__init__.py").read_text()
            for folder in (trees.old / "lvsd", trees.new / "lvsd", trees.harness / "bench")
        ]
        only_bench = [path.name for path in trees.harness.iterdir()]
    assert texts == ["AGE = 'old'\n", "AGE = 'new'\n", "AGE = 'new'\n"]
    assert only_bench == ["bench"]
    assert trees.summary == "Begin"
    assert len(str(trees.old)) == len(str(trees.new))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_however_it_ends(repository: Path, error: type[BaseException]) -> None:
    before = git(repository, "status", "--porcelain")
    with pytest.raises(error), beside("HEAD", repository) as trees:
        raise error
    assert not trees.folder.exists()
    assert worktrees(repository) == 1
    assert git(repository, "status", "--porcelain") == before


def test_an_unknown_revision_is_said_to_be_unknown(repository: Path) -> None:
    with pytest.raises(UsageError, match="git knows no revision 'v9'"), beside("v9", repository):
        pass
    with pytest.raises(UsageError, match="revision '--help'"), beside("--help", repository):
        pass


def test_a_folder_outside_git_has_no_other_revision(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no git checkout"), beside("HEAD", tmp_path):
        pass


def test_a_folder_within_another_checkout_is_none_of_its_own(repository: Path) -> None:
    with (
        pytest.raises(UsageError, match="no git checkout of its own"),
        beside("HEAD", repository / "lvsd"),
    ):
        pass


def test_a_worktree_that_is_gone_has_to_be_pruned_first(repository: Path) -> None:
    gone = repository.parent / "gone"
    git(repository, "worktree", "add", "--quiet", "--detach", str(gone))
    shutil.rmtree(gone)
    with pytest.raises(UsageError, match="run 'git worktree prune'"), beside("HEAD", repository):
        pass
    assert worktrees(repository) == 2


def test_a_worktree_that_a_killed_run_left_is_named(repository: Path) -> None:
    left = repository.parent / "lvsd-bench-999999999-x" / "old"
    git(repository, "worktree", "add", "--quiet", "--detach", str(left))
    with pytest.raises(UsageError, match="a comparison was killed"), beside("HEAD", repository):
        pass
    assert left.exists()
