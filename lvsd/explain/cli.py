"""The command ``lvsd explain``."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.errors import UsageError
from lvsd.explain import as_data, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.explain.model import Explanation

PROG: Final = "lvsd explain"
STDOUT: Final = Path("-")

DESCRIPTION: Final = """\
Follow one connection hop by hop: every header field, what changed, why, and which step of the
plan did it. The client, the real servers and the network are on paper, the director is the one
that lvsd runs. Needs no root, sends nothing.

  lvsd explain --mode dr                              one connection
  lvsd explain --mode fullnat --packets 1-4 --checksums
  lvsd explain --mode tun --html tun.html             a page to step through
  lvsd explain --scheduler wlc --weights 3,2,1 --picks 7    whom a scheduler picks, and why
  lvsd explain --pcap in.pcap -c lvsd.toml            packets of one's own
  lvsd explain --live --mode nat                      a real one, in the lab (root)
"""


NOT_WITH_PICKS: Final = (
    *("mode", "protocol", "ipv6", "vip", "client", "server", "earlier", "tunnel", "mss_clamp"),
    *("client_address", "config", "mark", "dip", "packets", "checksums"),
)
NOT_WITH_CAPTURES: Final = (
    *("mode", "protocol", "ipv6", "vip", "client", "server", "weights", "scheduler", "flags"),
    *("earlier", "tunnel", "mss_clamp", "client_address", "clients"),
)
"""Options that would say nothing there; who gives one expects it to."""


def main(argv: Sequence[str]) -> int:
    """Explain what the command line asks for, and return the exit status. Raise LvsdError."""
    made = parser()
    options = made.parse_args(argv)
    _one_on_stdout(options)
    if options.picks is not None:
        from lvsd.explain import sequence  # noqa: PLC0415 - '--help' is quick

        refuse(made, options, NOT_WITH_PICKS, "does not go with --picks")
        return sequence.tell(options)
    if options.config is not None:
        from lvsd.explain import capture_cli  # noqa: PLC0415 - '--help' is quick

        refuse(made, options, NOT_WITH_CAPTURES, "does not go with -c, which says it")
        return capture_cli.tell(options)
    refuse(made, options, ("clients",), "goes with --picks")
    refuse(made, options, ("mark", "dip"), "goes with -c")
    if options.pcap == STDOUT:
        raise UsageError("--pcap: - is no directory; a capture on stdin goes with -c lvsd.toml")
    if options.pcap is not None and options.pcap.is_file():
        raise UsageError(f"{options.pcap} is a file; to explain its packets add -c lvsd.toml")
    return tell(options, _explanation(options))


def tell(options: argparse.Namespace, explanation: Explanation) -> int:
    """Print, draw or write an explanation, as the options ask."""
    from lvsd.explain.output.files import write_captures, write_text  # noqa: PLC0415 - '--help' is quick

    _check_packets(options, len(explanation.journeys))
    silent = False
    if options.svg is not None:
        from lvsd.explain.output.svg import svg  # noqa: PLC0415 - only this needs it

        write_text(svg(explanation), _file(options.svg))
        silent = True
    if options.html is not None:
        from lvsd.explain.output.html import html  # noqa: PLC0415 - only this needs it

        write_text(html(explanation), _file(options.html))
        silent = True
    if options.pcap is not None:
        paths = write_captures(explanation, options.pcap)
        if not _on_stdout(options):
            write_text("\n".join(map(str, paths)), None)
        silent = True
    if options.markdown:
        from lvsd.explain.output.table import markdown  # noqa: PLC0415 - only this needs it

        write_text(markdown(explanation, options.packets), None)
    elif options.json:
        write_text(json.dumps(as_data(explanation), indent=2), None)
    elif not silent:
        from lvsd.explain.output.text import show  # noqa: PLC0415 - only this needs it
        from lvsd.terminal import console  # noqa: PLC0415 - only this needs it

        show(console(), explanation, packets=options.packets, checksums=options.checksums)
    return os.EX_OK


def refuse(made: Parser, options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Raise UsageError for the first of the options that was given."""
    for name in names:
        if getattr(options, name) != made.get_default(name):
            raise UsageError(f"--{name.replace('_', '-')} {why}")


def _on_stdout(options: argparse.Namespace) -> list[str]:
    """Return the options that put the whole of stdout to use."""
    drawn = [f"--{name}" for name in ("svg", "html") if getattr(options, name) == STDOUT]
    return drawn + [f"--{name}" for name in ("json", "markdown") if getattr(options, name)]


def _one_on_stdout(options: argparse.Namespace) -> None:
    asked = _on_stdout(options)
    if len(asked) > 1:
        raise UsageError(f"of {', '.join(asked)} only one can go to stdout")


def _check_packets(options: argparse.Namespace, count: int) -> None:
    """Refuse numbers of packets that no output takes, or that no packet has."""
    if options.packets is None:
        return
    drawn = [name for name in ("svg", "html", "pcap") if getattr(options, name) is not None]
    if options.json or drawn:
        raise UsageError("--packets goes with text and --markdown; all others have every packet")
    if options.packets.start > count:
        raise UsageError(f"--packets: there are {count} packets, none is {options.packets.start}")


def _explanation(options: argparse.Namespace) -> Explanation:
    return explain(
        options.mode,
        protocol=options.protocol,
        ipv6=True if options.ipv6 else None,
        vip=options.vip,
        client=options.client,
        servers=options.server,
        weights=options.weights,
        scheduler=options.scheduler,
        flags=options.flags,
        earlier=options.earlier,
        tunnel=options.tunnel,
        mss_clamp=options.mss_clamp,
        client_address=options.client_address,
    )


def parser() -> Parser:
    """Return the parser of the command line; ``--live`` has the same."""
    made = Parser(
        prog=PROG,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _what(made.add_argument_group("what"))
    _output(made.add_argument_group("output; without any of these, text"))
    return made


def _what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--mode", default="nat", metavar="MODE", help="nat (the default), dr, tun or fullnat")
    add("--protocol", default="tcp", metavar="PROTOCOL", help="tcp (the default) or udp")
    add("-6", "--ipv6", action="store_true", help="over IPv6")
    add("--vip", metavar="ADDRESS[:PORT]", help="the virtual service")
    add("--client", metavar="ADDRESS[:PORT]", help="who connects")
    add(
        "--server",
        action="append",
        metavar="ADDRESS[:PORT]",
        help="a real server; to be given once for each",
    )
    add("--weights", type=_numbers, metavar="N,N,...", help="the real servers' (default 3,2,1)")
    add("--scheduler", default="wlc", metavar="NAME", help="who picks (default wlc)")
    add("--flags", type=_words, default=(), metavar="FLAG,...", help="the scheduler's, as sh-port")
    add(
        "--earlier",
        type=int,
        default=0,
        metavar="N",
        help="connections of other clients that are open before",
    )
    add("--tunnel", default="ipip", metavar="KIND", help="tun: ipip (the default), gue or gre")
    add("--mss-clamp", action="store_true", help="tun: lower the MSS to what fits")
    add(
        "--client-address",
        default="toa",
        metavar="HOW",
        help="fullnat: how the real server is told: toa (the default), proxy-v2 or none",
    )
    add("--picks", type=int, metavar="N", help="instead: whom the scheduler picks N times, and why")
    add(
        "--clients",
        type=_words,
        metavar="ADDRESS,...",
        help="with --picks: who connects, in turn; for dh, lblc and lblcr: where to",
    )
    add(
        "--live", action="store_true", help="instead: one real HTTP request, in the lab; needs root"
    )
    add("-c", "--config", type=Path, metavar="FILE", help="instead: --pcap's packets, by this file")
    add("--mark", type=int, default=0, metavar="N", help="with -c: the packets' firewall mark")
    add("--dip", metavar="ADDRESS", help="with -c: where tunnels begin (default 192.0.2.1)")


def _output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--packets", type=_range, metavar="N[-M]", help="of all packets only these, from 1")
    add("--checksums", action="store_true", help="with the arithmetic of each checksum")
    add("--json", action="store_true", help="everything, for programs")
    add("--markdown", action="store_true", help="a table of the hops, or of the picks")
    add(
        "--svg",
        nargs="?",
        type=_path,
        const=STDOUT,
        metavar="FILE",
        help="a drawing (without FILE: on stdout)",
    )
    add(
        "--html",
        nargs="?",
        type=_path,
        const=STDOUT,
        metavar="FILE",
        help="a page that steps through",
    )
    add(
        "--pcap",
        type=_path,
        metavar="PATH",
        help="a capture file per hop, into this directory; with -c: the file to explain",
    )


def _file(path: Path) -> Path | None:
    return None if path == STDOUT else path


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name is no file")
    return Path(text)


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 3,2,1")
    return [int(word) for word in text.split(",")]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _range(text: str) -> range:
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2] or found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of packets such as 1-4")
    return range(int(found[1]), int(found[2] or found[1]) + 1)
