"""Sysctls and addresses: set, remembered, put back, also by somebody else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import machine as machines
from lvsd.io import sysctls
from lvsd.io.announcer import Announcer
from lvsd.io.divert import Divert, Diverted
from lvsd.io.journal import AddressChange, Journal, SysctlChange, journal_path, this_namespace
from lvsd.io.leftovers import standing, table_stands
from lvsd.io.machine import Machine, cleanup, put_back
from lvsd.net import addresses as of_interfaces
from lvsd.net import links as interfaces
from lvsd.net.kernel import Kernel, talking
from lvsd.packet.address import pack
from lvsd.supervisor.virtual_addresses import VirtualAddresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.net.kernel import Request
    from tests.netns.io.hosts import Row

FORWARD = "net.ipv4.ip_forward"
TTL = "net.ipv4.ip_default_ttl"
VIP4, VIP6 = pack("198.51.100.7"), pack("2001:db8:7::7")

KILLED = """
import os, signal, sys
from pathlib import Path
from lvsd.io.divert import Divert, Diverted
from lvsd.io.machine import Machine
from lvsd.packet.address import pack
machine = Machine(Path(sys.argv[1]))
machine.set_sysctl("net.ipv4.ip_default_ttl", 99)
machine.add_address("eth0", pack("198.51.100.7"))
machine.add_address("eth0", pack("2001:db8:7::7"))
divert = Divert(8)
divert.up(Diverted(marks=frozenset({7})))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def in_the_director(row: Row) -> None:
    del row


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.json"


def sysctl(name: str) -> str:
    return Path("/proc/sys", name.replace(".", "/")).read_text(encoding="ascii").strip()


def local_addresses() -> set[tuple[int, bytes]]:
    with talking() as kernel:
        return {(each.interface, each.address) for each in of_interfaces.every(kernel)}


def addresses() -> set[bytes]:
    return {address for _, address in local_addresses()}


def test_restore_puts_sysctls_and_addresses_back_and_removes_the_journal(journal: Path) -> None:
    before = local_addresses()
    machine = Machine(journal)
    machine.set_sysctl(TTL, 65)
    machine.set_sysctl(TTL, 66)
    machine.add_address("eth0", VIP4)
    machine.add_address("eth0", VIP6)
    assert (sysctl(TTL), addresses() >= {VIP4, VIP6}) == ("66", True)
    assert machine.restore() == [
        "removed 2001:db8:7::7 from eth0",
        "removed 198.51.100.7 from eth0",
        f"set {TTL} back to 64",
    ]
    assert (sysctl(TTL), local_addresses()) == ("64", before)
    assert not journal.exists()


def test_what_is_as_wanted_already_is_not_ours_to_put_back(journal: Path, row: Row) -> None:
    row.director.ip("address add 198.51.100.7/24 dev eth0")
    machine = Machine(journal)
    machine.set_sysctl(FORWARD, 1)
    machine.add_address("eth0", VIP4)
    assert machine.restore() == []
    assert (sysctl(FORWARD), VIP4 in addresses()) == ("1", True)
    row.director.ip("address delete 198.51.100.7/24 dev eth0")


def test_addresses_are_taken_off_again_but_for_those_that_were_there_before(
    journal: Path, row: Row
) -> None:
    row.director.ip("address add 198.51.100.7/24 dev eth0")
    before = local_addresses()
    machine = Machine(journal)
    machine.add_addresses([("eth0", VIP4), ("eth0", VIP6)])
    assert machine.take_addresses([("eth0", VIP4), ("eth0", VIP6), ("lo", VIP6)]) == [
        "removed 2001:db8:7::7 from eth0"
    ]
    assert local_addresses() == before
    left = Journal.read(journal)
    assert left is not None
    assert left.is_empty
    assert machine.restore() == []
    row.director.ip("address delete 198.51.100.7/24 dev eth0")


def test_addresses_leave_an_interface_that_was_given_another_name(journal: Path, row: Row) -> None:
    row.director.ip("link add lvsd-old type veth peer name lvsd-peer")
    try:
        machine = Machine(journal)
        machine.add_address("lvsd-old", VIP4)
        row.director.ip("link set lvsd-old name lvsd-new")
        lines = machine.restore()
        assert (lines, VIP4 in addresses()) == (["removed 198.51.100.7 from lvsd-new"], False)
    finally:
        row.director.ip("link delete lvsd-peer")


def test_many_addresses_are_in_the_journal_with_one_write(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Path] = []
    write = Journal.write

    def count(self: Journal, path: Path) -> None:
        writes.append(path)
        write(self, path)

    monkeypatch.setattr(Journal, "write", count)
    before = local_addresses()
    machine = Machine(journal)
    wanted = [("eth0", pack(f"198.51.100.{number}")) for number in range(1, 101)]
    kept = VirtualAddresses(wanted, Announcer())
    writes.clear()
    kept.start(machine, 0.0)
    assert addresses() >= {address for _, address in wanted}
    assert len(writes) == 1
    machine.restore()
    assert local_addresses() == before


def test_the_journal_forgets_those_of_many_addresses_that_were_never_put_there(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_AT_ONCE", 1)
    machine = Machine(journal)
    multicast = pack("ff02::7")  # no interface takes that
    wanted = [("eth0", VIP4), ("eth0", multicast), ("nowhere", VIP6), ("eth0", VIP6)]
    noted = []

    def stop_at_the_third() -> None:
        left = Journal.read(journal)
        noted.append(left and [each.address for each in left.addresses])
        if len(noted) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        machine.put_addresses(wanted, stop_at_the_third)
    assert noted == [["198.51.100.7", "ff02::7", "2001:db8:7::7"]] * 3
    left = Journal.read(journal)
    assert left
    assert left.addresses == [AddressChange("eth0", "198.51.100.7")]
    refused = machine.put_addresses(wanted)
    assert {place: error.errno for place, error in refused.items()} == {
        ("eth0", multicast): errno.EADDRNOTAVAIL,
        ("nowhere", VIP6): errno.ENODEV,
    }
    assert machine.restore() == [
        "removed 2001:db8:7::7 from eth0",
        "removed 198.51.100.7 from eth0",
    ]


def test_an_interface_without_ipv6_is_said_to_be_so_and_the_other_addresses_are_there(
    journal: Path, row: Row
) -> None:
    row.director.ip("link add deaf type veth peer name deaf-peer")
    sysctls.write("net.ipv6.conf.deaf.disable_ipv6", "1")
    machine = Machine(journal)
    refused = machine.put_addresses([("deaf", VIP6), ("deaf", VIP4), ("eth1", VIP6)])
    machine.restore()
    row.director.ip("link delete deaf")
    [(place, error)] = refused.items()
    assert place == ("deaf", VIP6)
    assert "IPv6 is switched off there" in str(error)
    assert "net.ipv6.conf.deaf.disable_ipv6=0" in error.remedy


def test_a_sysctl_that_somebody_else_changed_since_is_left_alone(journal: Path) -> None:
    machine = Machine(journal)
    machine.set_sysctl(TTL, 65)
    Path("/proc/sys/net/ipv4/ip_default_ttl").write_text("70", encoding="ascii")
    lines = machine.restore()
    left = sysctl(TTL)
    Path("/proc/sys/net/ipv4/ip_default_ttl").write_text("64", encoding="ascii")
    assert lines == [f"{TTL} is 70, not 65 as lvsd set it: left alone"]
    assert left == "70"


@pytest.mark.parametrize(
    ("theirs", "left"),
    [
        ("8080,9000-9001,40000-40009", "8080,9000-9001"),
        ("9000,40000-40009", "9000"),
        ("8080,40000-40004,40020", "8080,40020"),
        ("40000-40009", ""),
        ("9000", "9000"),
    ],
)
def test_ports_that_we_reserved_go_out_of_a_list_that_somebody_else_changed(
    journal: Path, theirs: str, left: str
) -> None:
    sysctls.write(sysctls.RESERVED_PORTS, "8080")
    machine = Machine(journal)
    machine.set_sysctl(sysctls.RESERVED_PORTS, "8080,40000-40009")
    sysctls.write(sysctls.RESERVED_PORTS, theirs)
    lines = machine.restore()
    found = sysctls.read(sysctls.RESERVED_PORTS)
    sysctls.write(sysctls.RESERVED_PORTS, "")
    assert (found, journal.exists()) == (left, False)
    assert [(left or "nothing") in line for line in lines] == [True] * (left != theirs)


def test_what_the_kernel_set_along_with_a_sysctl_is_put_back_too(journal: Path) -> None:
    eth1 = Path("/proc/sys/net/ipv4/conf/eth1/forwarding")
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    forward.write_text("0", encoding="ascii")
    eth1.write_text("1", encoding="ascii")
    machine = Machine(journal)
    machine.set_sysctl(FORWARD, 1)
    machine.restore()
    assert (sysctl(FORWARD), eth1.read_text(encoding="ascii").strip()) == ("0", "1")
    forward.write_text("1", encoding="ascii")


def test_the_journal_names_a_change_before_it_is_made(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Journal | None] = []

    refused = PermissionError(1, "Operation not permitted")

    def write(*_: object) -> None:
        seen.append(Journal.read(journal))
        raise refused

    def attempt(_: Kernel, requests: Sequence[Request]) -> list[KernelError]:
        seen.append(Journal.read(journal))
        return [KernelError("add it", refused, "be root") for _ in requests]

    monkeypatch.setattr("lvsd.io.sysctls.write", write)
    monkeypatch.setattr(Kernel, "attempt", attempt)
    machine = Machine(journal)
    with pytest.raises(PrivilegeError):
        machine.add_address("eth0", VIP4)
    with pytest.raises(PrivilegeError):
        machine.set_sysctl(TTL, 65)
    assert [each and (each.sysctls, each.addresses) for each in seen] == [
        ([], [AddressChange("eth0", "198.51.100.7")]),
        ([SysctlChange(TTL, "64", "65")], []),
    ]
    assert machine.restore() == []


def killed(journal: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(journal)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_cleanup_puts_back_what_a_killed_daemon_left(journal: Path) -> None:
    before = local_addresses()
    killed(journal)
    assert (sysctl(TTL), addresses() >= {VIP4, VIP6}, standing()) == ("99", True, ["lvsd_guard"])
    assert cleanup(journal) == [
        "removed nftables table inet lvsd_guard",
        "removed 2001:db8:7::7 from eth0",
        "removed 198.51.100.7 from eth0",
        f"set {TTL} back to 64",
    ]
    assert (sysctl(TTL), local_addresses(), standing()) == ("64", before, [])
    assert cleanup(journal) == []


def test_cleanup_says_that_it_has_no_journal_when_only_the_table_was_found(journal: Path) -> None:
    killed(journal)
    elsewhere = journal.parent / "elsewhere"
    assert cleanup(elsewhere / "journal.json") == [
        "removed nftables table inet lvsd_guard",
        (
            f"no journal in {elsewhere}: sysctls and addresses were not put back; "
            "if `control` is in another directory, clean up once more with -c FILE"
        ),
    ]
    cleanup(journal)


def test_a_new_namespace_has_another_journal_even_if_it_has_an_old_ones_inode(
    journal: Path, row: Row
) -> None:
    killed(journal)
    director, path = this_namespace(), journal_path(journal.parent)
    with row.client.entered():
        assert this_namespace() != director
        assert journal_path(journal.parent) != path
        assert Journal.read(journal) is None
    assert cleanup(journal)[-1] == f"set {TTL} back to 64"


def test_a_journal_of_another_boot_is_removed_and_changes_nothing(journal: Path) -> None:
    left = Journal.of_this_process()
    left.namespace = "another-boot/1"
    left.sysctls.append(SysctlChange(TTL, "63", "64"))
    left.write(journal)
    assert cleanup(journal) == []
    assert (sysctl(TTL), journal.exists()) == ("64", False)


def test_the_next_daemon_takes_over_what_a_killed_one_changed(journal: Path) -> None:
    before = local_addresses()
    killed(journal)
    machine = Machine(journal)
    machine.set_sysctl(TTL, 98)
    machine.add_address("eth0", VIP4)
    machine.restore()
    assert (sysctl(TTL), local_addresses()) == ("64", before)


def test_cleanup_touches_nothing_while_the_daemon_lives(journal: Path) -> None:
    machine = Machine(journal)
    machine.set_sysctl(TTL, 65)
    divert = Divert(8)
    divert.up(Diverted())
    why = "clean up: lvsd runs in this network namespace, pid"
    with pytest.raises(KernelError, match=f"^{why} {os.getpid()}; stop it first"):
        cleanup(journal)
    assert (sysctl(TTL), table_stands()) == ("65", True)
    divert.down()
    machine.restore()


@pytest.mark.parametrize(
    ("interface", "address", "text"),
    [("eth9", VIP4, "put 198.51.100.7 on eth9"), ("eth9", VIP6, "put 2001:db8:7::7 on eth9")],
)
def test_an_interface_that_is_not_there_is_an_error(
    journal: Path, interface: str, address: bytes, text: str
) -> None:
    machine = Machine(journal)
    with pytest.raises(KernelError, match=text):
        machine.add_address(interface, address)
    assert machine.restore() == []


def test_a_sysctl_that_is_not_there_is_an_error(journal: Path) -> None:
    machine = Machine(journal)
    with pytest.raises(KernelError, match=r"set sysctl net\.ipv4\.no_such = 1: No such file"):
        machine.set_sysctl("net.ipv4.no_such", 1)
    assert machine.restore() == []


def kind_of(name: str) -> str | None:
    """Return the kind of an interface, None without it."""
    link = interface(name)
    return None if link is None else link.kind


def is_up(name: str) -> bool:
    link = interface(name)
    return link is not None and link.is_up


def interface(name: str) -> interfaces.Link | None:
    with talking() as kernel:
        return interfaces.find(kernel, name)


def test_an_interface_that_was_made_is_removed_and_one_that_was_raised_taken_down(
    journal: Path, row: Row
) -> None:
    row.director.ip("link add theirs type bridge")
    machine = Machine(journal)
    for _ in range(2):
        machine.add_link("lvsd-bridge", "bridge")
        assert machine.raise_link("theirs", "bridge")
    assert (kind_of("lvsd-bridge"), is_up("theirs")) == ("bridge", True)
    assert machine.restore() == [
        "took interface theirs down",
        "removed interface lvsd-bridge",
    ]
    assert (kind_of("lvsd-bridge"), is_up("theirs")) == (None, False)
    row.director.ip("link delete theirs")


def test_an_interface_that_is_there_or_up_already_stays(journal: Path, row: Row) -> None:
    row.director.ip("link add lvsd-bridge up type bridge")
    machine = Machine(journal)
    machine.add_link("lvsd-bridge", "bridge")
    machine.raise_link("lvsd-bridge", "bridge")
    assert machine.restore() == []
    assert is_up("lvsd-bridge")
    row.director.ip("link delete lvsd-bridge")


def test_an_interface_of_another_kind_is_nobody_of_ours(journal: Path, row: Row) -> None:
    row.director.ip("link add lvsd-ipip type bridge")
    machine = Machine(journal)
    assert not machine.raise_link("lvsd-ipip", "ipip")
    with pytest.raises(KernelError, match="make the veth interface lvsd-ipip: File exists"):
        machine.add_link("lvsd-ipip", "veth")
    assert machine.restore() == []
    row.director.ip("link delete lvsd-ipip")


def test_a_kind_that_the_kernel_has_not_is_told_by_its_errno(journal: Path) -> None:
    machine = Machine(journal)
    with pytest.raises(KernelError) as caught:
        machine.add_link("lvsd-x", "nosuchkind")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert machine.restore() == []


def test_put_back_needs_no_machine_and_leaves_the_table_of_a_director_alone(journal: Path) -> None:
    before = local_addresses()
    killed(journal)
    assert put_back(journal)[-1] == f"set {TTL} back to 64"
    assert (sysctl(TTL), local_addresses(), standing()) == ("64", before, ["lvsd_guard"])
    assert put_back(journal) == []
    cleanup(journal)


def test_settings_stay_in_the_journal_for_who_takes_over(journal: Path) -> None:
    dead = Journal.of_this_process()
    dead.started -= 1
    dead.settings = {"mode": "dr"}
    dead.write(journal)
    taken_over = Machine(journal)
    left = Journal.read(journal)
    assert left is not None
    assert left.settings == {"mode": "dr"}
    taken_over.restore()
