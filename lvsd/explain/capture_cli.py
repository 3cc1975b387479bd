"""``lvsd explain --pcap FILE -c lvsd.toml``: what becomes of the packets of a capture."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from lvsd.assembly import assemble, diverted
from lvsd.config.load import load
from lvsd.errors import UsageError
from lvsd.explain.captured import explain_capture
from lvsd.explain.captures import pcap
from lvsd.explain.output.data import as_data
from lvsd.explain.output.files import write_text
from lvsd.explain.output.text import show_choice, show_journey, show_plan
from lvsd.terminal import console

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from lvsd.explain.captured import Seen
    from lvsd.explain.captures.pcap import Captured

DIP: Final = "192.0.2.1"
MOST_MARK: Final = 0xFFFFFFFF


def tell(options: argparse.Namespace) -> int:
    """Explain a capture, packet by packet, as it is read.

    Raise ConfigError, InputError, or DataError; what came before it is out then.
    """
    for name in ("svg", "html", "markdown"):
        if getattr(options, name):
            raise UsageError(f"--{name} draws one connection; of a capture there is text or --json")
    if not 0 <= options.mark <= MOST_MARK:
        raise UsageError(f"--mark: {options.mark} is not 0 to {MOST_MARK}")
    found = explained(options.config, options.pcap, options.dip or DIP, options.mark)
    chosen = (seen for seen in found if not options.packets or seen.number in options.packets)
    if options.json:
        for seen in chosen:
            write_text(json.dumps(as_data(seen)), None)
    else:
        out = console()
        for seen in chosen:
            _show(out, seen, checksums=options.checksums)
    return os.EX_OK


def explained(config: Path, capture: Path, dip: str, mark: int = 0) -> Iterator[Seen]:
    """Yield what becomes of each packet in a file."""
    try:
        source = ip_address(dip).packed
    except ValueError:
        raise UsageError(f"--dip: {dip!r} is no IPv4 or IPv6 address") from None
    settings = load(config)
    packets = pcap.read_path(capture)
    first = next(packets, None)
    if first is None:
        return
    director = assemble(settings, first.time_s)
    divert = diverted(director.services)
    yield from explain_capture(director, divert, _again(first, packets), source=source, mark=mark)


def _again(first: Captured, others: Iterator[Captured]) -> Iterator[Captured]:
    yield first
    yield from others


def _show(out: Console, seen: Seen, *, checksums: bool) -> None:
    if seen.choice:
        out.print()
        show_choice(out, seen.choice)
    if seen.choice and seen.plan:
        show_plan(out, seen.plan)
    show_journey(out, seen.journey, seen.number, checksums=checksums)
