"""The hashes, held against the kernel's buckets and against CPython's own SipHash-1-3."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address

import pytest

from schedulers.hashing import MASK32, fold, hash_32, hsiphash

VALUES = [0, 1, 0x0A000001, 0xCB007107, 0x80000000, MASK32]


@pytest.mark.parametrize(
    ("address", "port", "bucket"),
    [
        ("10.0.0.1", 0, 39),
        ("10.0.0.1", 40000, 203),
        ("10.0.0.2", 0, 137),
        ("10.0.0.2", 40000, 45),
        ("192.168.0.1", 0, 192),
        ("192.168.0.1", 40000, 100),
        ("203.0.113.7", 0, 124),
        ("203.0.113.7", 40000, 32),
        ("2001:db8::1", 0, 63),
    ],
)
def test_hash_32_gives_the_buckets_of_the_kernel(address: str, port: int, bucket: int) -> None:
    assert hash_32(fold(ip_address(address).packed) + port, 8) == bucket


def test_fold_xors_the_four_words_of_an_ipv6_address() -> None:
    words = (0x20010DB8, 0x01020304, 0xFFFF0000, 0x89ABCDEF)
    address = b"".join(word.to_bytes(4, "big") for word in words)
    assert fold(address) == words[0] ^ words[1] ^ words[2] ^ words[3]


@pytest.mark.parametrize("seed", [0, 1, 4_000_000_000])
@pytest.mark.skipif(
    sys.hash_info.algorithm != "siphash13", reason="this CPython was built with another hash"
)
def test_hsiphash_is_what_cpython_hashes_bytes_with(seed: int) -> None:
    """CPython derives the key from PYTHONHASHSEED by a congruential generator; 0: key 0."""
    state, key = seed, bytearray()
    while len(key) < 16:
        state = (state * 214013 + 2531011) & MASK32
        key.append(state >> 16 & 0xFF)
    program = f"print(*(hash(v.to_bytes(4, 'little')) for v in {VALUES}))"
    hashed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    theirs = [int(text) & MASK32 for text in hashed.split()]
    assert [hsiphash(value, bytes(key) if seed else bytes(16)) for value in VALUES] == theirs
