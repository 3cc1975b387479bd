"""How a command line of ipvsadm's is written: its options, and how words are taken apart.

Short options may be glued (``-Lnc``) and so may an argument (``-t192.0.2.10:80``,
``-t=192.0.2.10:80``); long ones take theirs apart or after ``=``. What is wrong is said in the
words of popt(3), which ipvsadm leaves this to, with the same exit status.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd import keys
from lvsd.errors import UsageError
from lvsd.keys import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USAGE: Final = 2
"""The exit status of a command line that means nothing."""

REFUSED: Final = 255
"""The exit status where the daemon refuses, or an option is unknown or has the wrong argument."""


class CommandLineError(UsageError):
    """A command line that is wrong; ``status`` is what lvsadm ends with."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


class Takes(Enum):
    """What follows an option."""

    NOTHING = "nothing"
    ARGUMENT = "an argument"
    PERHAPS = "an argument, unless the next word begins with -"


class Option(NamedTuple):
    """An option: its long name, its letter if it has one, what follows.

    ``kind`` is the name of what it says, where several options say the same kind of thing.
    """

    name: str
    letter: str = ""
    takes: Takes = Takes.NOTHING
    kind: str = ""

    @property
    def says(self) -> str:
        """What messages call it, and what may be said only once."""
        return self.kind or self.name


class Word(NamedTuple):
    """An option as given: its argument (None: none), and the word that it stood in."""

    option: Option
    argument: str | None
    spelt: str


SERVICE: Final = "service-address"
FORWARD: Final = "forwarding-method"

COMMANDS: Final = (
    Option("add-service", "A"),
    Option("edit-service", "E"),
    Option("delete-service", "D"),
    Option("clear", "C"),
    Option("restore", "R"),
    Option("save", "S"),
    Option("add-server", "a"),
    Option("edit-server", "e"),
    Option("delete-server", "d"),
    Option("list", "L"),
    Option("list", "l"),
    Option("zero", "Z"),
    Option("set"),
    Option("start-daemon", takes=Takes.ARGUMENT),
    Option("stop-daemon", takes=Takes.ARGUMENT),
    Option("status"),
    Option("help", "h"),
    Option("version", "v"),
)

_ARGUMENT = Takes.ARGUMENT
_LETTERS: Final = {"laddr": "z"}

OPTIONS: Final = (
    Option("numeric", "n"),
    Option("connection", "c"),
    Option("tcp-service", "t", _ARGUMENT, SERVICE),
    Option("udp-service", "u", _ARGUMENT, SERVICE),
    Option("sctp-service", "", _ARGUMENT, SERVICE),
    Option("fwmark-service", "f", _ARGUMENT, SERVICE),
    Option("ipv6", "6"),
    Option("scheduler", "s", _ARGUMENT),
    Option("persistent", "p", Takes.PERHAPS),
    Option("netmask", "M", _ARGUMENT),
    Option("real-server", "r", _ARGUMENT),
    Option("gatewaying", "g", kind=FORWARD),
    Option("ipip", "i", kind=FORWARD),
    Option("masquerading", "m", kind=FORWARD),
    Option("fullnat", "F", kind=FORWARD),
    Option("weight", "w", _ARGUMENT),
    Option("u-threshold", "x", _ARGUMENT),
    Option("l-threshold", "y", _ARGUMENT),
    Option("mcast-interface", "", _ARGUMENT),
    Option("timeout"),
    Option("daemon"),
    Option("stats"),
    Option("rate"),
    Option("thresholds"),
    Option("persistent-conn"),
    Option("nosort"),
    Option("sort"),
    Option("syncid", "", _ARGUMENT),
    Option("exact", "X"),
    Option("ops", "o"),
    Option("pe", "", _ARGUMENT),
    Option("sched-flags", "b", _ARGUMENT),
    Option("mcast-group", "", _ARGUMENT),
    Option("mcast-port", "", _ARGUMENT),
    Option("mcast-ttl", "", _ARGUMENT),
    Option("sync-maxlen", "", _ARGUMENT),
    Option("tun-info"),
    Option("tun-type", "", _ARGUMENT),
    Option("tun-port", "", _ARGUMENT),
    Option("tun-nocsum"),
    Option("tun-csum"),
    Option("tun-remcsum"),
    *(
        Option(
            each.option,
            _LETTERS.get(each.option, ""),
            Takes.NOTHING if each.kind is Kind.SWITCH else _ARGUMENT,
        )
        for each in (*keys.OF_LVSD, *keys.FULLNAT)
    ),
    Option("json"),
    Option("control", "", _ARGUMENT),
)
"""In the order in which ipvsadm complains of them, then lvsd's own."""

_BY_NAME = {f"--{option.name}": option for option in (*COMMANDS, *OPTIONS)}
_BY_LETTER = {option.letter: option for option in (*COMMANDS, *OPTIONS) if option.letter}


def words(arguments: Sequence[str]) -> Iterator[Word | str]:
    """Yield the options of a command line, and the words that are none, as they come.

    Raise CommandLineError for an option that is unknown or lacks its argument.
    """
    left = list(reversed(arguments))
    while left:
        word = left.pop()
        if word == "--":
            yield from reversed(left)
            return
        if word.startswith("--"):
            yield _long(word, left)
        elif word.startswith("-") and word != "-":
            yield from _letters(word, left)
        else:
            yield word


def _long(word: str, left: list[str]) -> Word:
    name, equals, argument = word.partition("=")
    option = _BY_NAME.get(name)
    if option is None:
        raise CommandLineError(f"{word}: unknown option", REFUSED)
    if not equals:
        return Word(option, _next(option, word, left), word)
    if option.takes is Takes.NOTHING:
        raise CommandLineError(f"{word}: option does not take an argument", REFUSED)
    return Word(option, argument, word)


def _letters(word: str, left: list[str]) -> Iterator[Word]:
    """Yield the options of one word; an argument may be its tail or the next word."""
    for place, letter in enumerate(word[1:], start=2):
        option = _BY_LETTER.get(letter)
        if option is None:
            raise CommandLineError(f"{word}: unknown option", REFUSED)
        if option.takes is not Takes.NOTHING and word[place:]:
            yield Word(option, word[place:].removeprefix("="), word)
            return
        yield Word(option, _next(option, word, left), word)


def _next(option: Option, spelt: str, left: list[str]) -> str | None:
    """Take an option's argument off what is left."""
    if option.takes is Takes.NOTHING:
        return None
    if option.takes is Takes.PERHAPS and (not left or left[-1].startswith("-")):
        return None
    if not left:
        raise CommandLineError(f"{spelt}: missing argument", REFUSED)
    return left.pop()
