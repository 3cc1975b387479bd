"""``lvsd explain --live``: what became of a real HTTP request, by the frames on the lab's wires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.errors import UsageError
from lvsd.explain import cli
from lvsd.lab.live import live
from lvsd.lab.plan import WAYS
from lvsd.lab.signals import Terminated

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

USUAL: Final = {"protocol": "tcp", "tunnel": "ipip", "client_address": "toa"}
"""What the lab has, and nothing else."""


def main(argv: Sequence[str]) -> int:
    """Build a lab, make a request, tell what was seen; return the exit status. Raise LvsdError."""
    parser = cli.parser()
    options = parser.parse_args(argv)
    for name in ON_PAPER:
        if getattr(options, name) != parser.get_default(name):
            raise UsageError(f"--{name.replace('_', '-')} does not go with --live")
    for name, word in USUAL.items():
        if getattr(options, name) != word:
            raise UsageError(f"--{name.replace('_', '-')} is {word} with --live")
    if options.mode not in WAYS:
        raise UsageError(f"mode {options.mode!r} is not known, expected one of {', '.join(WAYS)}")
    try:
        told = live(options.mode, "v6" if options.ipv6 else "v4", options.scheduler)
    except Terminated as end:
        return end.exit_status
    return cli.tell(options, told)
