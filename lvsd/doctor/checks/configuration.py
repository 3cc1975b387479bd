"""The configuration is refused: it says a DR server with another port, FULLNAT without addresses.

The daemon that runs may still have an older one, and the other checks look at that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield every fault of the file, as `lvsd -t` prints it."""
    for fault in snapshot.faults:
        file = fault.partition(":")[0]
        yield Finding(Level.PROBLEM, fault, where=file, remedy=f"lvsd -t -c {file}")


CHECK = Check("configuration", "the configuration is good", look)
