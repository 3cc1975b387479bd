"""A frame in short: a line a layer, with what differs from packet to packet.

::

    IPv4 198.51.100.7 > 192.0.2.10, total length 60, TTL 64, header checksum 0x4e76 (right)
      TCP 40000 > 80, sequence number 1000, flags SYN, window 64240, checksum 0xde0f (right)
        options MSS 1460, SACK permitted yes, window scale 7
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain.headers.checksums import checksums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.explain.model import Frame

_LEFT_OUT: Final = frozenset(
    {
        *("version", "header length", "identification", "protocol", "next header"),
        *("data offset", "reserved"),
    }
)
_QUIET: Final = {
    "DSCP": "0",
    "ECN": "not ECT",
    "flags": "none",
    "fragment offset": "0",
    "flow label": "0x00000",
    "acknowledgement number": "0",
    "urgent pointer": "0",
}
"""Fields that are left out while they say this."""

_ENDS: Final = (("source", "destination"), ("source port", "destination port"))
_NOT_INDENTED: Final = ("Ethernet", "IPv4", "IPv6")


def lines(frame: Frame) -> Iterator[str]:
    """Yield the lines; what is inside a tunnel, or quoted, stands further right."""
    verdicts = {
        (each.layer, each.field): " (right)" if each.whole == each.value else " (wrong)"
        for each in checksums(frame)
        if each.whole is not None
    }
    for layer in frame.layers:
        name = layer.name.replace("inner ", "").replace("quoted ", "")
        indent = 4 * layer.name.removesuffix(name).count(" ") + 2 * (name not in _NOT_INDENTED)
        texts = {field.name: field.text for field in layer.fields}
        ends = [f" {texts.pop(a)} > {texts.pop(b)}" for a, b in _ENDS if a in texts and b in texts]
        said = [
            f"{field} {text}{verdicts.get((layer.name, field), '')}"
            for field, text in texts.items()
            if field not in _LEFT_OUT and _QUIET.get(field) != text
        ]
        plain = [each for each in said if not each.startswith("option ")]
        options = [each.removeprefix("option ") for each in said if each not in plain]
        yield " " * indent + ", ".join([name + "".join(ends), *plain])
        if options:
            yield f"{' ' * indent}  options {', '.join(options)}"
