"""Names of sysctls, and which of them a router must set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io import sysctls
from lvsd.io.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an empty directory in the place of /proc/sys."""
    monkeypatch.setattr(sysctls, "_SYSCTLS", tmp_path)
    return tmp_path


def interface(tree: Path, name: str, accept_ra: int, forwarding: int) -> None:
    directory = tree / "net/ipv6/conf" / name
    directory.mkdir(parents=True)
    (directory / "accept_ra").write_text(f"{accept_ra}\n")
    (directory / "forwarding").write_text(f"{forwarding}\n")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "net",
        "net.",
        ".net.ipv4.ip_forward",
        "kernel.modprobe",
        "//.//.//.tmp.x",
        "net.ipv4.//.//.//.//.tmp.x",
        "net..ip_forward",
        "net././.x",
        "net.ipv4.ip_forward\0",
    ],
)
def test_a_name_that_leads_out_of_net_is_no_sysctl(name: str) -> None:
    with pytest.raises(ValueError, match="is no sysctl below net"):
        sysctls.write(name, "1")


def test_a_dot_in_an_interfaces_name_is_a_slash_in_the_sysctls(tree: Path) -> None:
    interface(tree, "eth0.100", 1, 0)
    assert sysctls.read("net.ipv6.conf.eth0/100.accept_ra") == "1"
    assert sysctls.deaf_once_forwarding() == ["net.ipv6.conf.eth0/100.accept_ra"]


def test_only_an_interface_that_hears_advertisements_now_would_grow_deaf(tree: Path) -> None:
    interface(tree, "all", 1, 0)
    interface(tree, "default", 1, 0)
    interface(tree, "hears", 1, 0)
    interface(tree, "ignores", 0, 0)
    interface(tree, "always_hears", 2, 0)
    interface(tree, "forwards", 1, 1)
    assert sysctls.deaf_once_forwarding() == [
        "net.ipv6.conf.default.accept_ra",
        "net.ipv6.conf.hears.accept_ra",
    ]


def test_accept_ra_is_left_alone_where_the_host_forwards_already(tree: Path) -> None:
    interface(tree, "all", 1, 1)
    interface(tree, "eth0", 1, 0)
    machine = Machine(tree / "journal.json")
    machine.forward(6)
    assert sysctls.read("net.ipv6.conf.eth0.accept_ra") == "1"
    assert machine.restore() == []


def test_an_interface_that_goes_away_meanwhile_is_no_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interface(tree, "all", 1, 0)
    interface(tree, "eth0", 1, 0)
    interface(tree, "veth7", 1, 0)
    write = sysctls.write

    def unplug(name: str, value: str) -> None:
        if "veth7" in name:
            raise FileNotFoundError(2, "No such file or directory")
        write(name, value)

    monkeypatch.setattr(sysctls, "write", unplug)
    machine = Machine(tree / "journal.json")
    machine.forward(6)
    assert sysctls.read("net.ipv6.conf.eth0.accept_ra") == "2"
    assert sysctls.read("net.ipv6.conf.all.forwarding") == "1"


def test_a_kernel_without_ipv6_is_told_from_one_that_refuses(tree: Path) -> None:
    machine = Machine(tree / "journal.json")
    with pytest.raises(KernelError) as caught:
        machine.forward(6)
    assert str(caught.value) == (
        "forward IPv6: this kernel is without it; "
        "leave out the IPv6 services, or boot a kernel that has it enabled"
    )
