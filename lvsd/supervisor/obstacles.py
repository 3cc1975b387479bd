"""What keeps packets from being forwarded although lvsd is well, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.io import sysctls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from lvsd.running.complaints import Obstacle


def of_forwarding(families: Iterable[int], switched_on: Collection[int]) -> Iterator[Obstacle]:
    """Yield each IP version of ``families``, 4 and 6, that the kernel does not forward.

    ``switched_on`` are those that lvsd has switched on: then somebody has switched them off. lvsd
    leaves it at that, as whoever did it may have meant it. Raise OSError.
    """
    for family in sorted(families):
        name = sysctls.FORWARDING[family]
        if sysctls.read(name) != "0":
            continue
        if family in switched_on:
            what = "somebody switched the kernel's forwarding off: no packet reaches a real server"
            yield what, name, f"sysctl -w {name}=1"
        else:
            what = "the kernel does not forward, so no packet reaches a real server"
            yield what, name, "set it to 1, or forwarding = true in [sysctl]"
