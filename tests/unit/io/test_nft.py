"""What is made of what the program nft says, without asking the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import nft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = '{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "lvsd_x"}}]}'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a shell script in the place of nft; return the file for what it hears on stdin."""

    def put(script: str) -> Path:
        heard = tmp_path / "heard"
        place = tmp_path / "nft"
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("HEARD", str(heard))
        return heard

    return put


def test_a_table_is_replaced_in_one_transaction(program: Callable[[str], Path]) -> None:
    heard = program('[ "$*" = "-f -" ] && cat >"$HEARD"')
    nft.replace("lvsd_x", ["add table inet lvsd_x", "add chain inet lvsd_x y"])
    assert heard.read_text().splitlines() == [
        "add table inet lvsd_x",
        "delete table inet lvsd_x",
        "add table inet lvsd_x",
        "add chain inet lvsd_x y",
    ]


def test_only_a_table_that_stands_is_removed(program: Callable[[str], Path]) -> None:
    heard = program(f"""[ "$1" = -f ] && cat >"$HEARD" || echo '{TABLES}'""")
    assert (nft.delete("lvsd_z"), heard.exists()) == (False, False)
    assert nft.delete("lvsd_x")
    assert heard.read_text().splitlines()[-1] == "delete table inet lvsd_x"


def test_a_table_that_does_not_stand_is_none(program: Callable[[str], Path]) -> None:
    program(f"echo '{TABLES}'")
    assert nft.listed("lvsd_z") is None
    assert nft.listed("lvsd_x") == [
        ("metainfo", {}),
        ("table", {"family": "inet", "name": "lvsd_x"}),
    ]


@pytest.mark.parametrize("said", ["", "table inet lvsd_x {", "[]", '{"nftables": 1}', '{"a": []}'])
def test_an_answer_that_is_no_json_of_nft_is_an_error(
    program: Callable[[str], Path], said: str
) -> None:
    program(f"echo '{said}'")
    with pytest.raises(KernelError, match="not understood; install nftables with support for JSON"):
        nft.listed("lvsd_x")


def test_what_the_kernel_lacks_is_said_with_what_it_must_have(
    program: Callable[[str], Path],
) -> None:
    said = "/dev/stdin:4:1-9: Error: Could not process rule: No such file or directory"
    program(f"cat >/dev/null; echo '{said}' >&2; echo 'add rule' >&2; exit 1")
    with pytest.raises(KernelError) as caught:
        nft.replace("lvsd_x", [])
    assert str(caught.value) == (
        f"make the nftables table inet lvsd_x: {said}; "
        "the kernel must have nf_tables with CONFIG_NF_TABLES_INET, and be Linux 4.14 or later"
    )
    assert not isinstance(caught.value, PrivilegeError)


def test_a_missing_capability_is_said_as_such(program: Callable[[str], Path]) -> None:
    program("echo 'Operation not permitted (you must be root)' >&2; exit 1")
    with pytest.raises(PrivilegeError, match="run lvsd as root or with CAP_NET_ADMIN"):
        nft.listed("lvsd_x")


def test_a_missing_program_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="no program nft; install the package nftables"):
        nft.replace("lvsd_x", [])


def test_a_program_that_does_not_end_is_given_up(
    program: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("exec sleep 60")
    monkeypatch.setattr(nft, "_TIMEOUT_S", 0.2)
    with pytest.raises(KernelError, match=r"nft has not ended within 0\.2 s"):
        nft.replace("lvsd_x", [])
