"""What goes to nf_tables by netlink, and what its refusals are called."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.compiling import native_queue, xt_queue
from lvsd.io.divert import _refusal
from lvsd.io.guard import guard_of, guarded_of
from lvsd.io.netlink import attributes, be32, nested, string
from lvsd.io.nf_tables import Table


def hooked(priority: int) -> bytes:
    """Return the attributes of a chain in hook prerouting, of type filter and policy accept."""
    where = be32(1, 0) + be32(2, priority)
    return nested(4, where) + be32(5, 1) + string(7, "filter")


def expression(encoded: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Return name and attributes of an encoded nft expression."""
    (outer,) = attributes(encoded, 0).values()
    parts = attributes(outer, 0)
    return parts[1], attributes(parts[2], 0)


def test_the_native_expression_names_one_queue_and_bypass_in_network_order() -> None:
    assert expression(native_queue(0x0102, 1)) == (
        b"queue\0",
        {1: b"\x01\x02", 2: b"\x00\x01", 3: b"\x00\x01"},
    )


def test_the_xt_target_names_one_queue_and_bypass_in_host_order() -> None:
    name, data = expression(xt_queue(0x0102, 1))
    assert name == b"target\0"
    assert data[1] == b"NFQUEUE\0"
    assert data[2] == b"\0\0\0\x03"
    assert data[3] == b"".join(n.to_bytes(2, sys.byteorder) for n in (0x0102, 1, 1)) + b"\0\0"


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.EPERM, PrivilegeError, "run lvsd as root or with CAP_NET_ADMIN"),
        (errno.EEXIST, KernelError, "if it was killed, run `lvsd cleanup`"),
        (errno.ENOENT, KernelError, "CONFIG_NFT_QUEUE"),
        (errno.EOPNOTSUPP, KernelError, "modprobe nf_tables"),
        (errno.EPROTONOSUPPORT, KernelError, "modprobe nf_tables"),
    ],
)
def test_each_refusal_of_the_kernel_says_what_to_do(
    number: int, kind: type[KernelError], text: str
) -> None:
    error = _refusal(OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert text in str(error)


DRAFT = Table(
    0,
    {"divert": b"", "guard": b"", "requests": hooked(-149), "untracked": hooked(-290)},
    {
        "divert": (b"queue",),
        "guard": (b"mark", b"if seen", b"drop"),
        "requests": (b"@services4\0 divert\0", b"@__set1\0 drop"),
        "untracked": (b"@services4\0 @__set0\0 notrack",),
    },
    {"services4": b"kind", "ends4": b"kind", "__set0": b"kind", "__set1": b"kind"},
    {"__set0": frozenset({b"1"}), "__set1": frozenset({b"2"})},
)


def test_the_guard_has_the_rules_that_queue_right_behind_them_and_drops_instead() -> None:
    assert guard_of(DRAFT) == Table(
        0,
        {"divert": b"", "requests": hooked(-148)},
        {"divert": (b"drop",), "requests": (b"if seen", *DRAFT.rules["requests"])},
        {"services4": b"kind", "ends4": b"kind", "__set1": b"kind"},
        {"__set1": frozenset({b"2"})},
    )


def test_the_table_itself_marks_what_comes_by_the_chains_that_queue() -> None:
    table = guarded_of(DRAFT, 2)
    assert (table.flags, table.sets, table.elements) == (2, DRAFT.sets, DRAFT.elements)
    assert table.chains.keys() == DRAFT.chains.keys() - {"guard"}
    assert table.rules == {
        "divert": (b"queue",),
        "requests": (b"mark", *DRAFT.rules["requests"]),
        "untracked": DRAFT.rules["untracked"],
    }
