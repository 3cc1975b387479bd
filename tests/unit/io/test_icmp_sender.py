"""The rate limit of our own ICMP messages, and failures that nobody hears of but the counter."""

from __future__ import annotations

from lvsd.io.icmp_sender import IcmpSender, TokenBucket
from lvsd.packet.address import pack


def test_a_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.15), bucket.take(100.15), bucket.take(100.25)] == [True, False, True]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    assert [bucket.take(now) for now in (0.0, 1000.0, 1000.0, 1000.0)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    assert [bucket.take(now) for now in (10.0, 5.0, 5.0)] == [True, True, False]


def test_a_sender_that_is_not_open_counts_a_failure_and_raises_nothing() -> None:
    sender = IcmpSender(rate_pps=1, burst=1)
    assert not sender.send(b"\x0b\0\0\0", pack("192.0.2.1"), 0.0)
    assert not sender.send(b"\x0b\0\0\0", pack("192.0.2.1"), 0.0)
    assert (sender.stats.sent, sender.stats.failed, sender.stats.limited) == (0, 1, 1)
