"""The command lines of what lvsadm has beyond ipvsadm: ``drain``, ``save``, ``watch``, ``top``.

argparse takes them apart; what is wrong is said in the words that all of lvsadm has
(`lvsd.control.grammar`), in a line and without the usage.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from lvsd.control.client import default_path
from lvsd.control.grammar import CommandLineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BELOW_0: Final = re.compile(r"-[0-9]")
_OPTION: Final = r"argument (?:-\w/)?(\S+): "
_WORDS: Final = (
    (r"unrecognized arguments: (-\S+).*", r"\1: unknown option"),
    (r"unrecognized arguments: (\S+).*", r"unexpected argument \1"),
    (_OPTION + r"expected one argument", r"\1: missing argument"),
    (_OPTION + r"ignored explicit argument .*", r"\1: option does not take an argument"),
    (
        _OPTION + r"not allowed with argument (?:-\w/)?(\S+)",
        r"The option '\1' conflicts with the '\2' option in the '{command}' command",
    ),
    (
        r"the following arguments are required: (.*)",
        r"You need to supply '\1' for the '{command}' command",
    ),
    (_OPTION + r"(.*)", r"\1: \2"),
)
"""What argparse says, and what lvsadm does."""


class _Help(argparse.HelpFormatter):
    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class Parser(argparse.ArgumentParser):
    """A command line that begins with ``command``; it may say where the daemon listens.

    ``statuses`` is what the help says of the exit status.
    """

    def __init__(self, command: str, description: str, statuses: str) -> None:
        super().__init__(
            f"lvsadm {command}",
            description=description,
            epilog=f"Exit status: {statuses}",
            formatter_class=_Help,
            allow_abbrev=False,
            add_help=False,
        )
        self._positionals.title, self._optionals.title = "Arguments", "Options"
        self._command = command
        self.add_argument("--help", "-h", action="help", help="this help")
        self.add_argument(
            "--control",
            type=Path,
            default=default_path(),
            metavar="PATH",
            help="the daemon's socket; default %(default)s",
        )

    def parse_args(self, words: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """Return what a command line says. Raise CommandLineError.

        A number below 0 behind an option that takes an argument is that argument, and not an
        option: so it is said what is wrong with it.
        """
        joined: list[str] = []
        for word in words:
            action = self._option_string_actions.get(joined[-1]) if joined else None
            is_argument = action is not None and action.nargs is None
            if is_argument and _BELOW_0.match(word) and word not in self._option_string_actions:
                joined[-1] += f"={word}" if joined[-1].startswith("--") else word
            else:
                joined.append(word)
        return super().parse_args(joined)

    def error(self, message: str) -> NoReturn:
        """Raise CommandLineError."""
        for pattern, words in _WORDS:
            said, found = re.subn(f"^{pattern}$", words, message)
            if found:
                message = said.replace("{command}", self._command)
                break
        raise CommandLineError(message)
