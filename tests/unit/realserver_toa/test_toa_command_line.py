"""``lvsd realserver toa``: mistakes are said before anything is touched."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from lvsd.errors import KernelError, UsageError
from lvsd.realserver.toa import cgroups, cli, libbpf
from lvsd.realserver.toa.cgroups import Tree
from lvsd.realserver.toa.reader import Kinds, Reader


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["up"], "--from"),
        (["up", "--from", "10.0.0.5", "--kind", "8"], "8 is not a kind from 9 to 255"),
        (["up", "--from", "10.0.0.5", "--kind", "256"], "256 is not a kind"),
        (["up", "--from", "10.0.0.5", "--kind-v6", "two"], "two is not a kind"),
        (["down", "--from", "10.0.0.5"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cli.main(words)


def test_what_follows_two_dashes_is_the_program() -> None:
    assert cli._program(["--", "nginx", "-g", "daemon off;"]) == ["nginx", "-g", "daemon off;"]
    assert cli._program(["sh", "--", "x"]) == ["sh", "--", "x"]
    with pytest.raises(UsageError, match="say what to run"):
        cli._program(["--"])


def test_without_libbpf_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: object, **_options: object) -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(KernelError, match=r"install libbpf 1.0 or newer \(Debian: libbpf1\)"):
        libbpf.Libbpf()


def test_programs_that_were_not_built_are_missed_with_the_way_to_build_them(
    tmp_path: Path,
) -> None:
    reader = Reader(Tree(-1), tmp_path / "toa.bpf.o")
    assert reader.missing() == ["the programs were not built: run `make bpf`"]
    with pytest.raises(KernelError, match="run `make bpf`, which needs clang and libbpf-dev"):
        reader.up("/", frozenset(), Kinds())


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/", "/"),
        ("system.slice/nginx.service", "/system.slice/nginx.service"),
        ("/system.slice/", "/system.slice"),
        ("/sys/fs/cgroup/unified/system.slice", "/system.slice"),
        ("/sys/fs/cgroup/unified", "/"),
    ],
)
def test_a_cgroup_is_named_by_its_path_from_the_root(
    given: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_mounts", lambda _path: [Path("/sys/fs/cgroup/unified")])
    assert Tree(-1).name_of(given) == name


def test_no_cgroup_is_named_by_way_of_its_parent() -> None:
    with pytest.raises(UsageError, match=r"leave out the '\.\.'"):
        Tree(-1).name_of("system.slice/../../etc")


def test_mounts_of_cgroup_v2_are_found_among_others(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "33 30 0:27 /user.slice /mnt rw - cgroup2 cgroup2 rw\n"
    )
    assert cgroups._mounts(mountinfo) == [Path("/sys/fs/cgroup/unified")]
