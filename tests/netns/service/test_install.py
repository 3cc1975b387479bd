"""docs/install.md, its commands as they stand there, carried out under systemd.

What needs the network is left out: packages, and what pip installs. In place of the latter stand
two programs that run the checkout.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

import pytest

from tests.netns.service.manager import CHECKOUT, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.service.manager import Manager

PAGE: Final = (CHECKOUT / "docs" / "install.md").read_text()
PIP: Final = re.compile(r"^(/usr/bin/python3 -m venv|/opt/lvsd/bin/pip) .*\n", re.MULTILINE)
VENV: Final = """
mkdir -p /opt/lvsd/bin
for name in lvsd lvsadm; do
    module=lvsd; [ $name = lvsd ] || module=lvsd.control.lvsadm
    printf '#!/bin/sh\\nexport PYTHONPATH=/run/checkout\\n' >/opt/lvsd/bin/$name
    echo "exec /run/checkout/.venv/bin/python -m $module \\"\\$@\\"" >>/opt/lvsd/bin/$name
    chmod 755 /opt/lvsd/bin/$name
done
"""
INSTALLED: Final = (
    "/etc/lvsd/lvsd.toml",
    "/etc/systemd/system/lvsd.service",
    "/etc/systemd/system/multi-user.target.wants/lvsd.service",
    "/usr/bin/lvsd",
    "/usr/share/doc/lvsd/configuration.md",
    "/usr/share/doc/lvsd/lvsd.toml",
)


def commands(heading: str) -> list[str]:
    """Return the blocks of commands under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert blocks, heading
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]


def carry_out(systemd: Manager, script: str) -> str:
    """Carry commands out in the checkout, stop at the first that fails, and return the output."""
    done = systemd.run("sh", "-exc", f"cd /run/checkout\n{script}")
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def bare() -> Iterator[Manager]:
    """Boot a machine on which nothing of lvsd is installed."""
    with booted() as manager:
        manager.run("rm", "-rf", "/usr/bin/lvsd", "/run/systemd/system/lvsd.service")
        manager.run("rm", "-rf", "/run/systemd/system/lvsd.service.d")
        manager.systemctl("daemon-reload")
        yield manager


def test_the_page_installs_upgrades_and_removes_lvsd(bare: Manager) -> None:
    install, enforce = commands("Under systemd")
    install, left_out = PIP.subn("", install)
    assert left_out == 4
    carry_out(bare, VENV + install)
    assert [path for path in INSTALLED if bare.run("test", "-e", path).returncode] == []
    assert bare.shows("lvsd", "ActiveState") == "active"
    assert bare.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "0\n"

    mine = "# mine\n" + bare.run("cat", "/etc/lvsd/lvsd.toml").stdout
    bare.configure(mine)
    carry_out(bare, install)
    assert bare.run("cat", "/etc/lvsd/lvsd.toml").stdout == mine
    before = bare.shows("lvsd", "MainPID")
    assert "configuration is good" in carry_out(bare, enforce)
    assert bare.shows("lvsd", "MainPID") == before != "0"
    assert bare.shows("lvsd", "StatusText").endswith(": no change")

    (remove,) = commands("Removing it")
    assert "removed nftables table inet lvsd_hold" in carry_out(bare, remove)
    remains = [path for path in INSTALLED if not bare.run("test", "-e", path).returncode]
    assert remains == ["/etc/lvsd/lvsd.toml"]
    assert bare.shows("lvsd", "LoadState") == "not-found"
    assert bare.run("nft", "list", "tables").stdout == ""


def test_the_page_names_every_package_that_its_commands_install() -> None:
    table = PAGE.partition("All of them:")[0]
    named = set(re.findall(r"`([a-z][a-z0-9.+-]+)`", table)) - {"nft", "make venv"}
    assert packages() == named


def test_what_the_page_installs_builds_lvsd_in_a_checkout_too() -> None:
    """The packages that `make venv` itself installs, without those of the demo and the tests."""
    script = (CHECKOUT / "packaging" / "install-debian-packages").read_text()
    first = script.partition('packages="\n')[2].partition("    clang")[0].split()
    assert "gcc" in first
    # libnetfilter-queue-dev depends on it.
    assert set(first) - {"libnfnetlink-dev"} <= packages()


def packages() -> set[str]:
    """Return what the page installs with apt-get."""
    (block,) = (each for each in commands("What it needs") if "apt-get install" in each)
    words = shlex.split(block.partition("apt-get install")[2].replace("\\\n", " "))
    return {word for word in words if not word.startswith("-")}
