"""What is wrong with the checksums of a frame, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.explain.headers.checksums import checksums

if TYPE_CHECKING:
    from lvsd.explain.model import Frame


def checksum_faults(frame: Frame) -> list[str]:
    """Return a sentence for each checksum of a frame that is wrong."""
    return [
        f"{layer}: {field} {_hex(layer, value)} is wrong, {_hex(layer, whole)} would be right"
        for layer, field, value, whole in checksums(frame)
        if whole is not None and whole != value
    ]


def _hex(layer: str, value: int) -> str:
    return f"{value:#010x}" if layer.endswith("SCTP") else f"{value:#06x}"
