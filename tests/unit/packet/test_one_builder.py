"""Headers are packed, and pseudo headers summed, in one place: the packet layer's.

What others need of it is a function of `lvsd.packet.build`, or a field of `lvsd.packet.layout`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.packet.layout import ICMP_HEADER, LAYOUTS, PORTS, TCP_HEADER, UDP_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

LVSD = Path(__file__).parents[3] / "lvsd"
DESCRIBED = "packet/layout.py"
SUMMED = {"packet/checksum.py", "packet/tunnel.py", "realserver/decapsulation.py"}
"""Where a pseudo header is summed: the tunnel prepares a part of the sum, and the real server asks
whether a checksum is that sum alone."""

FORMATS = {
    struct.format
    for struct in (
        TCP_HEADER,
        UDP_HEADER,
        ICMP_HEADER,
        PORTS,
        *(layout.header for layout in LAYOUTS.values()),
        *(layout.front for layout in LAYOUTS.values()),
    )
} | {"!BBHHH", "!IHBB16s16s"}
FORMATS -= {"!HH", "!HHHH"}
"""Those of two and four numbers may be anything's."""

FIRST_BYTES = {0x45, 6 << 28}


def _trees(word: str = "") -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules in which a word occurs, by name."""
    for path in sorted(LVSD.rglob("*.py")):
        source = path.read_text()
        if word in source:
            yield path.relative_to(LVSD).as_posix(), ast.parse(source)


def _spelled_out(tree: ast.Module) -> list[str]:
    """Return the formats and first bytes of headers that a module writes itself."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if node.value in FORMATS else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            starts = node.value[:1] in {b"\x45", b"\x60"} and b"\0" in node.value
            found += [repr(node.value)] if starts else []
        elif isinstance(node, (ast.Constant, ast.BinOp)):
            value = _number(node)
            found += [hex(value)] if value in FIRST_BYTES else []
    return found


def _number(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = _shifted(node)
    return value if type(value) is int else None


def _shifted(node: ast.expr) -> int | None:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.LShift):
        return None
    left, right = _number(node.left), _number(node.right)
    return None if left is None or right is None else left << right


def test_no_other_module_spells_out_a_header() -> None:
    found = {name: _spelled_out(tree) for name, tree in _trees() if name != DESCRIBED}
    assert {name: said for name, said in found.items() if said} == {}


def test_pseudo_headers_are_summed_in_the_packet_layer() -> None:
    users = {
        name
        for name, tree in _trees("pseudo_header")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "pseudo_header"
    }
    assert users == SUMMED


@pytest.mark.parametrize(
    "source",
    [
        'HEADER = Struct("!HHIIBBHHH")',
        "first = 6 << 28 | label << 20",
        'start = b"\\x45\\0"',
        "0x45",
    ],
)
def test_a_header_that_is_spelled_out_is_seen(source: str) -> None:
    assert _spelled_out(ast.parse(source)) != []
