"""The arithmetic of a checksum, as RFC 1624 has it."""

from __future__ import annotations

from lvsd.explain.model import Sum
from lvsd.explain.sums import folded, result


def test_rfc_1624s_own_example_comes_out() -> None:
    """Section 4: a checksum of 0xDD2F, a word of 0x5555 that becomes 0x3285."""
    one = Sum("IPv4", "header checksum", 0xDD2F, 0x0000, (("m", 0x5555, 0x3285),), None)
    assert result(one) == 0x0000
    assert list(folded(one)) == [
        ("~HC", 0x22D0),
        ("~0x5555 m", 0xCD7A),
        ("0x3285 m", 0xFFFF),
    ]


def test_nothing_changed_leads_to_the_same_checksum() -> None:
    assert result(Sum("TCP", "checksum", 0x1234, 0x1234, (), None)) == 0x1234
