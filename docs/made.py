"""What the pages show of lvsd's own output is made by lvsd: ``python docs/made.py [--check]``.

A page has a block between two comments, the first of which is the command that makes it::

    <!-- made: lvsd explain --mode nat --packets 1 --markdown -->
    ...
    <!-- end -->

A command with ``--markdown`` makes a table, any other what a terminal of 80 columns shows. The
pictures are made by the commands in `PICTURES`.
"""

# ruff: noqa: INP001 - a script beside the pages, not a package
from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Final

from lvsd.cli import main as lvsd

DOCS: Final = Path(__file__).parent
ADDRESSES: Final = "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.6,192.168.0.1,192.0.2.102"
"""What the pages of the hashes work out: clients of sh and mh, destinations of dh."""

PICTURES: Final[dict[str, str]] = {
    **{
        f"{mode}.svg": f"explain --mode {mode} --earlier 2 --svg"
        for mode in ("nat", "dr", "tun", "fullnat")
    },
    **{
        f"schedulers/{name}.svg": f"explain --scheduler {name} --weights 3,2,1 --picks 12 --svg"
        for name in ("rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf")
    },
    **{
        f"schedulers/{name}.svg": f"explain --scheduler {name} --weights 3,2,1 --picks 12 "
        f"--clients {ADDRESSES} --svg"
        for name in ("sh", "dh", "mh")
    },
    **{
        f"schedulers/{name}.svg": f"explain --scheduler {name} --weights 2,2,2 --picks 8 "
        "--clients 10.0.0.1 --svg"
        for name in ("lblc", "lblcr")
    },
}
"""Files in docs/pictures, and what follows ``lvsd`` in the command that makes each."""

_BLOCK: Final = re.compile(
    r"^(?P<open><!-- made: lvsd (?P<command>[^\n]*?) -->\n)(?P<body>.*?)(?P<close><!-- end -->)$",
    re.DOTALL | re.MULTILINE,
)


def output(command: str) -> str:
    """Return what ``lvsd`` and these words print. Raise ValueError if they fail."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = lvsd(shlex.split(command))
    if status:
        raise ValueError(f"lvsd {command}: exit status {status}")
    return out.getvalue()


def page(text: str) -> str:
    """Return a page with its blocks made anew."""

    def made(block: re.Match[str]) -> str:
        command = block["command"]
        said = output(command).strip("\n")
        if "--markdown" not in command:
            said = f"```text\n$ lvsd {command}\n{_trimmed(said)}\n```"
        return f"{block['open']}\n{said}\n\n{block['close']}"

    return _BLOCK.sub(made, text)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def files() -> dict[Path, str]:
    """Return everything that is made, as it would be made now, by its file."""
    made = {
        path: page(text)
        for path in sorted(DOCS.rglob("*.md"))
        if "<!-- made:" in (text := path.read_text("utf-8"))
    }
    return made | {DOCS / "pictures" / name: output(words) for name, words in PICTURES.items()}


def stale() -> list[str]:
    """Return the files that are not what lvsd makes now, by their names in docs."""
    return [
        str(path.relative_to(DOCS))
        for path, text in files().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def main(words: list[str]) -> int:
    """Make all, or, with ``--check``, say what is not as it would be made; then return 1."""
    if words == ["--check"]:
        names = stale()
        sys.stdout.write("".join(f"docs/{name}: run 'make pictures'\n" for name in names))
        return 1 if names else 0
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
