"""lvsadm and a director in one process: every command line without a socket in between."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from unittest import mock

from lvsd.control import lvsadm, methods
from lvsd.control.requests import in_its_place, read_commands
from lvsd.core.wanted import Wanted
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Command


class Answered(NamedTuple):
    """What lvsadm ended with, and what it printed where."""

    status: int
    output: str
    errors: str


class InProcess:
    """lvsadm's client, and what answers it: a balancer, and what is wanted of it."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.wanted = Wanted(balancer.timeouts())
        self._context = methods.Context(balancer, started=0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, **params: object) -> Any:
        """Return the answer. Raise ControlError as a client over a socket does."""
        line = json.dumps({"method": method, "params": params})
        if method == "change":
            _, given = methods.parse(line.encode())
            return self._change(given)
        return methods.call(self._context, line.encode())

    def items(self, method: str, **params: object) -> Iterator[Any]:
        """Return the items of an answer that is a list."""
        return iter(self.call(method, **params))

    def _change(self, params: dict[str, Any]) -> None:
        try:
            self.do(read_commands(params))
        except ValueError as error:
            raise ControlError(f"lvsd: {error}") from None
        except ControlError as error:
            raise in_its_place(error, len(params["commands"])) from error

    def do(self, commands: Sequence[Command]) -> None:
        """Do commands, all or none, as the daemon does. Raise ControlError."""
        self.wanted.would_change(commands)
        self.balancer.apply(commands, self.balancer.now)
        self.wanted.do(commands)

    def type(self, words: Sequence[str], text: str = "") -> Answered:
        """Run lvsadm with words, and a text as its input."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            mock.patch.object(sys, "stdin", io.StringIO(text)),
        ):
            status = lvsadm.main(words, connect=lambda *_: self)
        return Answered(status, output.getvalue(), errors.getvalue())
