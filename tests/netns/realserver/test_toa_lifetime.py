"""What `up`, `down` and `status` of TOA do to the machine, and what they leave on it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.errors import KernelError
from lvsd.lab.wait import PATIENCE, until
from lvsd.realserver.toa import cli, libbpf
from lvsd.realserver.toa.cgroups import Tree, tree
from lvsd.realserver.toa.cli import main
from lvsd.realserver.toa.libbpf import Hook, Libbpf
from lvsd.realserver.toa.reader import PROGRAMS, Reader
from tests.netns.realserver.toa_site import CLIENT, LIP, OTHER, Group, Site, built, groups, toa

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
ALIEN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("sockops") int alien(struct bpf_sock_ops *ctx) { return ctx->op != 0xffff; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Have one site for all tests."""
    with built() as site:
        yield site


@pytest.fixture
def group() -> Iterator[Group]:
    """Have an empty cgroup."""
    with groups(1) as (group,):
        yield group


@pytest.fixture
def all_of_it(group: Group, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """Have a cgroup that lvsd takes for the root: what else is up on the machine stays up."""

    @contextmanager
    def opened() -> Iterator[Tree]:
        yield below

    with group.tree.opened(group.name) as root:
        below = Tree(root)
        monkeypatch.setattr(cli, "tree", opened)
        yield Group(below, "/")


@pytest.fixture
def whole_machine() -> None:
    """Leave alone a machine on which TOA is up for good."""
    with tree() as cgroups:
        if any(one.cgroup == "/" for one in Reader(cgroups).status()):
            pytest.skip("TOA is up here for all of the machine; `lvsd realserver toa down`")


def up(group: Group, trusted: str = LIP) -> None:
    assert main(["up", "--from", trusted, "--cgroup", group.name]) == 0


def down(group: Group) -> None:
    assert main(["down", "--cgroup", group.name]) == 0


def status(capsys: pytest.CaptureFixture[str], group: Group) -> dict[str, Any]:
    """Return what status says of a cgroup."""
    capsys.readouterr()
    main(["status", "--json"])
    report = json.loads(capsys.readouterr().out)
    found: dict[str, Any] = next(one for one in report["cgroups"] if one["cgroup"] == group.name)
    return found


def programs(group: Group, hook: Hook = Hook.SOCK_OPS) -> list[str]:
    """Return the names of all programs on one hook of a cgroup."""
    with group.tree.opened(group.name) as descriptor:
        return [program.name for program in Libbpf().attached(descriptor, hook)]


def ids(group: Group) -> list[int]:
    with group.tree.opened(group.name) as descriptor:
        library = Libbpf()
        return [one.id for hook in Hook for one in library.attached(descriptor, hook)]


def loaded_for(path: str) -> set[tuple[str, int]]:
    """Return the programs on a cgroup, and their maps: others' tests may have as many meanwhile."""
    programs = {one["id"] for one in bpftool("cgroup", "show", path)}
    shown = [one for one in bpftool("prog", "show") if one["id"] in programs]
    maps = {number for one in shown for number in one.get("map_ids", ())}
    return {*(("prog", number) for number in programs), *(("map", number) for number in maps)}


def kernel() -> set[tuple[str, int]]:
    """Return all programs and maps in the kernel, as bpftool lists them."""
    return {(kind, one["id"]) for kind in ("prog", "map") for one in bpftool(kind, "show")}


def bpftool(*words: str) -> list[dict[str, Any]]:
    argv = ["bpftool", "--json", *words]
    said = subprocess.run(argv, capture_output=True, check=True).stdout
    found: list[dict[str, Any]] = json.loads(said.strip() or "[]")
    return found


@contextmanager
def alien(group: Group, directory: Path, flags: int) -> Iterator[None]:
    """Have somebody else's program on the cgroup."""
    source, target = directory / "alien.bpf.c", directory / "alien.bpf.o"
    source.write_text(ALIEN)
    headers = f"/usr/include/{platform.machine()}-linux-gnu"
    subprocess.run(
        ["clang", "-O2", "-g", "-target", "bpf", "-idirafter", headers, "-c", source, "-o", target],
        check=True,
    )
    library = Libbpf()
    with library.loaded(target) as loaded, group.tree.opened(group.name) as descriptor:
        program = loaded.program("alien")
        assert library._lib.bpf_prog_attach(program, descriptor, Hook.SOCK_OPS, flags) == 0
        try:
            yield
        finally:
            library.detach(program, descriptor, Hook.SOCK_OPS)


def test_down_leaves_the_kernel_as_it_was(group: Group) -> None:
    path = group.procs.removesuffix("/cgroup.procs")
    before = bpftool("cgroup", "show", path)
    up(group)
    ours = loaded_for(path)
    assert len(bpftool("cgroup", "show", path)) == 3
    assert len(ours) == 3 + 5  # programs and maps
    assert ours <= kernel()

    down(group)

    assert until(lambda: not kernel() & ours)  # the kernel frees them when it has time
    assert bpftool("cgroup", "show", path) == before


def test_a_second_up_changes_nothing(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    up(group)
    before = ids(group)
    capsys.readouterr()

    up(group)

    assert capsys.readouterr().out == f"{group.name}: unchanged, TOA is read from {LIP}\n"
    assert (ids(group), len(before)) == (before, 3)


def test_other_addresses_are_taken_over_in_place(
    site: Site, group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    up(group)
    before = ids(group)
    with group.server(site) as server:
        director = site.director()
        director.open(toa(*CLIENT))
        assert server.says()["accept"] == [*CLIENT]

        up(group, OTHER)
        site.director(OTHER).open(toa("203.0.113.78", 78))
        assert server.says()["accept"] == ["203.0.113.78", 78]
        director.send(b"still there?")
        assert server.says() == [*CLIENT]
    assert (ids(group), status(capsys, group)["from"]) == (before, [OTHER])


def test_after_down_live_connections_go_on_and_show_the_director(site: Site, group: Group) -> None:
    up(group)
    with group.server(site) as server:
        director = site.director()
        director.open(toa(*CLIENT), b"one")
        assert server.says()["accept"] == [*CLIENT]
        assert server.says() == [*CLIENT]
        director.read(b"seen\n")

        down(group)

        director.send(b"two")
        assert server.says() == [LIP, director.lport]
        assert director.read(b"seen\nseen\n") == b"seen\nseen\n"


def test_up_puts_a_lost_program_back(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    up(group)
    library = Libbpf()
    with group.tree.opened(group.name) as descriptor:
        (lost,) = library.attached(descriptor, Hook.GETPEERNAME6)
        with library.program_opened(lost.id) as opened:
            library.detach(opened, descriptor, Hook.GETPEERNAME6)
    assert status(capsys, group)["whole"] is False

    up(group)

    assert status(capsys, group)["whole"] is True
    assert [programs(group, hook) for hook in PROGRAMS] == [[name] for name in PROGRAMS.values()]


def test_programs_of_others_stay(group: Group, tmp_path: Path) -> None:
    with alien(group, tmp_path, libbpf.ALLOW_MULTI):
        up(group)
        assert programs(group) == ["alien", "lvsd_toa_read"]
        down(group)
        assert programs(group) == ["alien"]


def test_where_another_program_allows_no_other_nothing_is_left(
    group: Group, tmp_path: Path
) -> None:
    with alien(group, tmp_path, 0):
        with pytest.raises(KernelError, match="allows no other may be there"):
            up(group)

        assert [programs(group, hook) for hook in PROGRAMS] == [[], [], ["alien"]]


def test_down_ends_all_that_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    with groups(2) as (one, two):
        up(one)
        up(two, OTHER)
        capsys.readouterr()

        assert main(["down"]) == 0

        said = capsys.readouterr().out
        assert [f"{each.name}: TOA is no longer read\n" in said for each in (one, two)] == [
            True
        ] * 2
        assert (ids(one), ids(two)) == ([], [])


@pytest.mark.usefixtures("whole_machine")
def test_without_a_cgroup_it_is_the_whole_machine(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--from", LIP]) == 0
    try:
        with groups(1) as (group,), group.server(site) as server:
            site.director().open(toa(*CLIENT))
            assert server.says()["accept"] == [*CLIENT]
        capsys.readouterr()
        main(["status", "--json"])  # its exit status is about all cgroups, those of others too
        report = json.loads(capsys.readouterr().out)
        (whole,) = (one for one in report["cgroups"] if one["cgroup"] == "/")
        assert (whole["whole"], whole["current"]) == (True, True)
    finally:
        assert main(["down", "--cgroup", "/"]) == 0


@pytest.mark.usefixtures("whole_machine")
def test_where_nothing_is_mounted_it_works_all_the_same(site: Site) -> None:
    """Under ``ip netns exec`` nobody sees cgroup v2, and unshare hides the first process's, too."""
    lvsd = f"{sys.executable} -m lvsd realserver toa"
    # Whether all is well with other people's cgroups is not asked.
    script = f"{lvsd} up --from {LIP} && {{ {lvsd} status || true; }} && {lvsd} down --cgroup /"
    hidden = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    with site.spawn(
        ["ip", "netns", "exec", site.server.name, *hidden], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        said, _ = process.communicate(timeout=60 * PATIENCE)
    assert (process.returncode, said.splitlines()[1]) == (
        0,
        f"cgroup / (all of the machine): kind 254, from {LIP}",
    )
