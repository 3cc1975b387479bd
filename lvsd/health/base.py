"""What a check is: it asks one real server, once, whether it is well.

A check knows its protocol and nothing else. How often it is asked, how long it may take, and what
many results together mean is not its business (`lvsd.health.judge`, `lvsd.health.runner`). A third
party's is a subclass of `Check`, named in the entry-point group ``lvsd.checks``.

Checks run on the supervisor's event loop, thousands of them: `Check.probe` must not block, and it
must close what it opened whichever way it ends, cancellation included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_REASON = 200
"""Characters of what a server said that a reason repeats at most."""


class UnhealthyError(Exception):
    """The server answered, and not as it should; the text says what was wrong and expected.

    For people: ``HTTP status 503, expected 200``.
    """


class Kind(Enum):
    """What the value of an option is: in a configuration, and for the check."""

    TEXT = auto()
    """A string of printable characters."""
    NUMBER = auto()
    """A whole number; ``allowed`` is a range."""
    SWITCH = auto()
    """True or false."""
    CHOICE = auto()
    """One of the words that are ``allowed``."""
    STATUSES = auto()
    """A list of numbers and ranges such as ``[200, "300-399"]``; a frozenset of numbers."""
    PATTERN = auto()
    """A regular expression; a compiled `re.Pattern` of str."""
    FILE = auto()
    """The absolute path of a file; a `pathlib.Path`."""
    COMMAND = auto()
    """A list of strings, the program's absolute path first; a tuple."""


class Option(NamedTuple):
    """One key of a check's own in ``[service.check]``.

    Without it in a configuration the check is given ``default``; None as default: no value.
    ``is_required``: it has to be there. ``expected`` completes an error, "expected ...".
    """

    word: str
    kind: Kind
    expected: str
    default: Any = None
    allowed: Sequence[Any] = ()
    is_required: bool = False


class Target(NamedTuple):
    """Whom a check asks: an address as text, and a port; 0 where it needs none."""

    address: str
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


class Check(ABC):
    """A way to ask whether a server is well. One object asks all servers of a service.

    ``name`` is what stands after ``type =``. ``options`` are the keys of its own. ``needs_port``
    says that it has no use for a port of 0.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()
    needs_port: ClassVar[bool] = True

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take the value of each option, by its word. Raise ValueError where they do not fit."""
        self.values = values

    @abstractmethod
    async def probe(self, target: Target) -> str:
        """Ask a server; return what it said in a few words, such as ``HTTP status 200``.

        Raise UnhealthyError where that is not as it should be, OSError where it cannot be reached.
        Whoever calls limits the time, and cancels it then.
        """
