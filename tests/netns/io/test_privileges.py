"""Without a capability, the error names what was tried and which one is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.netns.io.hosts import Row

PROGRAM = """
import sys
from pathlib import Path
from lvsd.errors import PrivilegeError
from lvsd.io.divert import Divert, Diverted
from lvsd.io.frame_sender import FrameSender
from lvsd.io.icmp_sender import IcmpSender
from lvsd.io.machine import Machine, cleanup
from lvsd.io.nfqueue import QueueSource
from lvsd.io.packet_sender import PacketSender
from lvsd.packet.address import pack
journal = Path(sys.argv[1])
try:
    {act}
except PrivilegeError as error:
    print(error)
"""
NOT_PERMITTED = "Operation not permitted; run lvsd as root or with"


CLEANUP_AS_NOBODY = """
import os, sys
import lvsd.cli, lvsd.daemon, lvsd.log  # while the checkout can be read
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(lvsd.cli.main(["cleanup", "--directory", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("capability", "act", "message"),
    [
        (
            "net_admin",
            "Divert(8).up(Diverted())",
            f"nftables table inet lvsd: {NOT_PERMITTED} CAP_NET_ADMIN",
        ),
        (
            "net_admin",
            "QueueSource(7, print, clock=float).open()",
            f"take NFQUEUE 7: {NOT_PERMITTED} CAP_NET_ADMIN",
        ),
        (
            "net_admin",
            "Machine(journal).add_address('eth0', pack('198.51.100.7'))",
            f"put 198.51.100.7 on eth0: {NOT_PERMITTED} CAP_NET_ADMIN",
        ),
        (
            "net_admin",
            "cleanup(journal)",
            f"nftables table inet lvsd: {NOT_PERMITTED} CAP_NET_ADMIN",
        ),
        (
            "net_raw",
            "IcmpSender().open()",
            f"open a raw ICMP socket: {NOT_PERMITTED} CAP_NET_RAW",
        ),
        (
            "net_raw",
            "PacketSender().open()",
            f"open a raw socket: {NOT_PERMITTED} CAP_NET_RAW",
        ),
        (
            "net_raw",
            "FrameSender(float, print, print).open()",
            f"open a packet socket: {NOT_PERMITTED} CAP_NET_RAW",
        ),
    ],
)
def test_a_missing_capability_is_named(
    row: Row, tmp_path: Path, capability: str, act: str, message: str
) -> None:
    del row
    without = ["setpriv", "--bounding-set", f"-{capability}"]
    program = [sys.executable, "-c", PROGRAM.format(act=act), str(tmp_path / "journal.json")]
    done = subprocess.run([*without, *program], check=True, capture_output=True, text=True)
    assert done.stdout == f"{message}\n"


def test_cleanup_of_another_users_journal_without_rights_is_status_77(
    row: Row, tmp_path: Path
) -> None:
    del row
    program = [sys.executable, "-c", CLEANUP_AS_NOBODY, str(tmp_path)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 77
    assert done.stderr.startswith(f"lvsd: read the journal {tmp_path}/journal-")
    assert len(done.stderr.splitlines()) == 1
