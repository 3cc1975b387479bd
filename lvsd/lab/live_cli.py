"""``lvsd explain --live``: what became of a real HTTP request, by the frames on the lab's wires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.errors import UsageError
from lvsd.explain import cli
from lvsd.lab.live import live
from lvsd.lab.plan import WAYS
from lvsd.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

ON_PAPER: Final = (
    "vip",
    "client",
    "server",
    "weights",
    "flags",
    "earlier",
    "mss_clamp",
    "picks",
    "clients",
    "config",
    "mark",
    "dip",
)
"""What can be asked for on paper only: the lab has addresses, servers and clients of its own."""

USUAL: Final = ("protocol", "tunnel", "client_address")
"""Of these the lab has what is usual, and nothing else."""


def main(argv: Sequence[str]) -> int:
    """Build a lab, make a request, tell what was seen; return the exit status. Raise LvsdError."""
    parser = cli.parser()
    options = parser.parse_args(argv)
    cli.refuse(parser, options, ON_PAPER, "does not go with --live")
    for name in USUAL:
        cli.refuse(parser, options, (name,), f"is {parser.get_default(name)} with --live")
    if options.mode not in WAYS:
        raise UsageError(f"mode {options.mode!r} is not known, expected one of {', '.join(WAYS)}")
    try:
        told = live(options.mode, "v6" if options.ipv6 else "v4", options.scheduler)
    except Terminated as end:
        return end.exit_status
    return cli.tell(options, told)
