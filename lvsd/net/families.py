"""Address families, as messages of rtnetlink name them (AF_INET, AF_INET6 of Linux)."""

from __future__ import annotations

from typing import Final

INET: Final = 2
INET6: Final = 10


def family(address: bytes) -> int:
    """Return the family of a packed address."""
    return INET if len(address) == 4 else INET6
