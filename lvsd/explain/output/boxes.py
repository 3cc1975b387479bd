"""The hosts of a picture: a box with name and addresses; small and grey for who has no part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.explain.output.canvas import BAND, FAINT, GREY, INK, LINE, Box, Canvas, Family, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.explain.model import Host

NAME_SIZE, OTHER_SIZE, SIZE = 18, 13, 12
LINE_HEIGHT = 16
WIDTH_AT_LEAST = 130
PAD = 12

OTHER_HEIGHT = 2 * LINE_HEIGHT + 10
OTHERS_APART = 6
OTHERS_SHOWN = 3


def host_width(host: Host, below: Sequence[str]) -> float:
    """Return how wide a host's box has to be, with these lines below its addresses."""
    mono = [width_of(text, SIZE, "mono") for row in host.interfaces for text in row]
    sans = [width_of(text, SIZE, bold=True) for text in below]
    name = width_of(host.name, NAME_SIZE, bold=True)
    return max(WIDTH_AT_LEAST, 2 * PAD + max(name, *mono, *sans))


def host_height(host: Host, below: Sequence[str]) -> float:
    """Return how high a host's box has to be."""
    interfaces = len(host.interfaces) * (3 * LINE_HEIGHT + 4)
    return 26 + 2 * PAD + interfaces + len(below) * LINE_HEIGHT


def paint_host(canvas: Canvas, box: Box, host: Host, below: Sequence[str]) -> None:
    """Paint a host's box, its texts in the middle of it."""
    canvas.rect(box, fill=BAND, stroke=INK, wide=1.5, radius=8)
    y = box.y + PAD + max(0, (box.height - host_height(host, below)) / 2)
    canvas.text(box.middle, y + 14, host.name, NAME_SIZE, bold=True, anchor="middle")
    y += 22
    for interface, address, mac in host.interfaces:
        rows: tuple[tuple[str, str, Family], ...] = (
            (interface, GREY, "sans"),
            (address, INK, "mono"),
            (mac, FAINT, "mono"),
        )
        for text, colour, family in rows:
            y += LINE_HEIGHT
            canvas.text(box.middle, y, text, SIZE, colour=colour, family=family, anchor="middle")
        y += 4
    for line in below:
        y += LINE_HEIGHT
        canvas.text(box.middle, y, line, SIZE, bold=True, anchor="middle")


def others_height(others: Sequence[Host]) -> float:
    """Return how high the column of those without a part is."""
    return min(len(others), OTHERS_SHOWN + 1) * (OTHER_HEIGHT + OTHERS_APART)


def others_width(others: Sequence[Host]) -> float:
    """Return how wide that column is."""
    addresses = (width_of(host.interfaces[0][1], SIZE, "mono") for host in others)
    return max(addresses, default=0) + 16


def paint_others(canvas: Canvas, column: Box, others: Sequence[Host]) -> None:
    """Paint the first few of those without a part, and say how many there are more."""
    y = column.y
    for host in others[:OTHERS_SHOWN]:
        box = Box(column.x, y, column.width, OTHER_HEIGHT)
        canvas.rect(box, stroke=LINE, radius=5)
        y += LINE_HEIGHT + 1
        canvas.text(box.middle, y, host.name, OTHER_SIZE, colour=FAINT, anchor="middle")
        y += LINE_HEIGHT
        address = host.interfaces[0][1]
        canvas.text(box.middle, y, address, SIZE, colour=FAINT, family="mono", anchor="middle")
        y = box.bottom + OTHERS_APART
    hidden = len(others) - OTHERS_SHOWN
    if hidden > 0:
        text = f"and {hidden} more"
        canvas.text(column.middle, y + LINE_HEIGHT, text, SIZE, colour=FAINT, anchor="middle")
