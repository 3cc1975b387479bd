"""``lvsd explain --pcap FILE -c lvsd.toml``: what becomes of the packets of a capture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.errors import UsageError
from lvsd.explain.captured import explain_capture
from lvsd.explain.output.data import as_data
from lvsd.explain.output.files import write_text
from lvsd.explain.output.text import show_choice, show_journey, show_plan
from lvsd.terminal import console

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from lvsd.explain.captured import Seen

DASH: Final = Path("-")
STDIN: Final = Path("/dev/stdin")

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
    found = explain_capture(capture, options.config, dip=options.dip, mark=options.mark)
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


def _show(out: Console, seen: Seen, *, checksums: bool) -> None:
    if seen.choice:
        out.print()
        show_choice(out, seen.choice)
    if seen.choice and seen.plan:
        show_plan(out, seen.plan)
    show_journey(out, seen.journey, seen.number, checksums=checksums)
