"""Checksums, against the worked examples of the documents that define them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lvsd.packet.checksum import apply, apply_udp, checksum, combine, crc32c, delta, pseudo_header

words = st.binary(max_size=40).map(lambda data: data + bytes(len(data) % 2))


def plain_checksum(data: bytes) -> int:
    """Sum up as RFC 1071 describes it, a word at a time."""
    total = 0
    data += bytes(len(data) % 2)
    for at in range(0, len(data), 2):
        total += data[at] << 8 | data[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_the_example_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xFFFF - 0xDDF2


def test_the_sum_of_nothing_and_of_zeros_is_zero() -> None:
    assert checksum(b"") == 0xFFFF
    assert checksum(bytes(10)) == 0xFFFF


@given(st.binary(max_size=60), st.integers(0, 60))
def test_dividing_one_long_number_is_summing_up_words(data: bytes, ones: int) -> None:
    data += b"\xff" * ones
    assert checksum(data) == plain_checksum(data)


@given(st.binary(min_size=1, max_size=40))
def test_over_its_own_checksum_it_is_zero(data: bytes) -> None:
    data += bytes(len(data) % 2)
    assert checksum(data + checksum(data).to_bytes(2, "big")) == 0


@given(st.binary(min_size=32, max_size=32), st.integers(0, 0xFFFF), st.binary(max_size=30))
def test_the_pseudo_headers_of_both_versions_sum_up_alike(
    addresses: bytes, length: int, data: bytes
) -> None:
    source, destination = addresses[:4], addresses[4:8]
    header = source + destination + bytes((0, 17)) + length.to_bytes(2, "big")
    assert checksum(data, pseudo_header(source, destination, 17, length)) == plain_checksum(
        header + data
    )
    source, destination = addresses[:16], addresses[16:]
    header = source + destination + length.to_bytes(4, "big") + bytes((0, 0, 0, 17))
    assert checksum(data, pseudo_header(source, destination, 17, length)) == plain_checksum(
        header + data
    )


def test_the_example_of_rfc_1624() -> None:
    assert apply(0xDD2F, delta(b"\x55\x55", b"\x32\x85")) == 0x0000


@given(words, words, st.data())
def test_a_delta_does_what_computing_anew_would(
    start: bytes, old: bytes, data: st.DataObject
) -> None:
    new = data.draw(st.binary(min_size=len(old), max_size=len(old)))
    before, after = b"\x45\x00" + start + old, b"\x45\x00" + start + new
    assert apply(checksum(before), delta(old, new)) == checksum(after)


@given(words, words, st.integers(0, 0xFFFE))
def test_deltas_combine(first: bytes, second: bytes, value: int) -> None:
    one, two = delta(first, bytes(len(first))), delta(second, bytes(len(second)))
    assert apply(apply(value, one), two) == apply(value, combine(one, two))


def test_no_change_is_a_delta_that_changes_nothing() -> None:
    assert delta(b"\x12\x34", b"\x12\x34") == combine() == 0xFFFF
    assert [apply(value, 0xFFFF) for value in (0, 1, 0xFFFE)] == [0, 1, 0xFFFE]


def test_a_wrong_checksum_stays_wrong() -> None:
    old, new = b"\xc0\x00\x02\x0a", b"\x0a\x00\x00\x0b"
    wrong = checksum(old) ^ 0x0100
    assert apply(wrong, delta(old, new)) != checksum(new)


def test_a_udp_checksum_that_was_not_computed_stays_so() -> None:
    assert apply_udp(0, delta(b"\x12\x34", b"\x43\x21")) == 0


def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() -> None:
    change = delta(b"\x55\x55", b"\x32\x85")
    assert apply(0xDD2F, change) == 0
    assert apply_udp(0xDD2F, change) == 0xFFFF


def test_a_udp_checksum_of_ones_counts_as_zero() -> None:
    data = b"\xff\xfe\x00\x01"
    assert checksum(data) == 0
    assert apply_udp(0xFFFF, delta(b"\x00\x01", b"\x00\x02")) == checksum(b"\xff\xfe\x00\x02")


def test_crc32c_of_the_digits_is_sent_least_significant_byte_first() -> None:
    assert crc32c(b"123456789") == (0xE3069283).to_bytes(4, "little")
