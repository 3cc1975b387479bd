"""``lvsd explain --pcap FILE -c lvsd.toml``: what becomes of the packets of a capture."""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.assembly import assemble
from lvsd.config import fields
from lvsd.config.load import load
from lvsd.errors import UsageError
from lvsd.explain.captured import assume_ways, explain_capture
from lvsd.explain.captures import pcap
from lvsd.explain.output.data import as_data
from lvsd.explain.output.files import write_text
from lvsd.explain.output.text import show_choice, show_journey, show_plan
from lvsd.io.diverting import diverted
from lvsd.terminal import console

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import Console

    from lvsd.explain.captured import Seen

DASH: Final = Path("-")
STDIN: Final = Path("/dev/stdin")

DIPS: Final = ("192.0.2.1", "2001:db8:1::1")
"""The director's addresses towards tunnels, one for each family, where nothing else is said."""

MOST_MARK: Final = 0xFFFFFFFF


def tell(options: argparse.Namespace) -> int:
    """Explain a capture, packet by packet, as it is read.

    Raise ConfigError, InputError, or DataError; what came before it is out then.
    """
    if options.pcap is None:
        raise UsageError("-c goes with --pcap FILE, the packets to explain")
    for name in ("svg", "html", "markdown"):
        if getattr(options, name):
            raise UsageError(f"--{name} draws one connection; of a capture there is text or --json")
    if not 0 <= options.mark <= MOST_MARK:
        raise UsageError(f"--mark: {options.mark} is not 0 to {MOST_MARK}")
    capture = STDIN if options.pcap == DASH else options.pcap
    found = explained(options.config, capture, options.dip, options.mark)
    chosen = (seen for seen in found if not options.packets or seen.number in options.packets)
    if options.json:
        for seen in chosen:
            write_text(json.dumps(as_data(seen)), None)
    else:
        out, shown = console(), 0
        for shown, seen in enumerate(chosen, 1):  # noqa: B007 - the last one is looked at below
            _show(out, seen, checksums=options.checksums)
        if not shown:
            asked = " of these numbers" if options.packets else ""
            write_text(f"{options.pcap}: no packet{asked}", None)
    return os.EX_OK


def explained(config: Path, capture: Path, dip: str | None, mark: int = 0) -> Iterator[Seen]:
    """Yield what becomes of each packet in a file; ``dip`` None: tunnels begin at `DIPS`."""
    sources = [*DIPS, *([dip] if dip is not None else ())]
    try:
        packed = [fields.address(source) for source in sources]
    except ValueError as error:
        raise UsageError(f"--dip: {error}") from None
    settings = load(config)
    packets = pcap.read_path(capture)
    first = next(packets, None)
    if first is None:
        return
    director = assemble(settings, first.time_s)
    assume_ways(director, packed)
    divert = diverted(director.services)
    yield from explain_capture(director, divert, chain([first], packets), mark=mark)


def _show(out: Console, seen: Seen, *, checksums: bool) -> None:
    if seen.choice:
        out.print()
        show_choice(out, seen.choice)
    if seen.choice and seen.plan:
        show_plan(out, seen.plan)
    show_journey(out, seen.journey, seen.number, checksums=checksums)
