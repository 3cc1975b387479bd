"""Thousands of probes on one loop: when, how many at a time, and what is told of them."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from lvsd.health import rounds as rounds_module
from lvsd.health.base import LONGEST_REASON, Check, Target, UnhealthyError
from lvsd.health.judge import Judge
from lvsd.health.probing import UnknownError, ask
from lvsd.health.rounds import Patient, Rounds
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.health.probing import Result

TARGET = Target("127.0.0.1", 80)


class Scripted(Check):
    """Does what it is told, and counts how often and how many at a time."""

    name = "scripted"

    def __init__(self, *outcomes: str | BaseException, takes_s: float = 0.0) -> None:
        super().__init__({})
        self.outcomes = list(outcomes) or ["fine"]
        self.takes_s = takes_s
        self.calls = 0
        self.at_once = self.most_at_once = 0

    async def probe(self, target: Target) -> str:
        """Do so."""
        assert target == TARGET
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        outcome = self.outcomes[min(self.calls, len(self.outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def patient(check: Check, interval_s: float = 0.01, timeout_s: float = 1.0) -> Patient:
    return Patient(check, TARGET, Judge(2, 2, 0.0), interval_s, interval_s / 4, timeout_s)


def asked(check: Check, timeout_s: float = 1.0) -> Result:
    return asyncio.run(ask(check, TARGET, timeout_s))


# --- one probe ---------------------------------------------------------------------------------


def test_a_good_answer_is_told_in_its_words() -> None:
    result = asked(Scripted("HTTP status 200"))
    assert (result.is_good, result.said) == (True, "HTTP status 200")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (UnhealthyError("HTTP status 503, expected 200"), "HTTP status 503, expected 200"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "whatever"), "no route to host"),
        (OSError("no words of the kernel's"), "no words of the kernel's"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_a_bad_one_says_what_was_wrong(outcome: Exception, said: str) -> None:
    result = asked(Scripted(outcome))
    assert (result.is_good, result.said) == (False, said)


def test_silence_is_bad_after_the_time_that_a_probe_has() -> None:
    check = Scripted(takes_s=60.0)
    result = asked(check, timeout_s=0.05)
    assert (result.is_good, result.said) == (False, "no answer within 0.05 s")
    assert check.at_once == 0


def test_what_a_server_says_is_printable_and_short() -> None:
    result = asked(Scripted(UnhealthyError("\x1b[31m" + "x" * 1000)))
    assert result.said.startswith("\\x1b[31mxxx")
    assert len(result.said) == LONGEST_REASON


@pytest.mark.parametrize(
    "outcome",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EPERM, "Operation not permitted"),
        OSError(errno.ENOENT, "No such file or directory"),
        ZeroDivisionError("a third party's mistake"),
        MemoryError(),
    ],
)
def test_what_goes_wrong_here_says_nothing_of_the_server(outcome: Exception) -> None:
    with pytest.raises(UnknownError) as caught:
        asked(Scripted(outcome))
    assert caught.value.__cause__ is outcome


# --- many --------------------------------------------------------------------------------------


def going(count: int, *patients: Patient, then: Callable[[Rounds], object] = len) -> list[Result]:
    """Ask patients until there are so many results; return them, in their order."""
    found: list[Result] = []

    async def run() -> None:
        enough = asyncio.Event()

        def note(patient: Patient, result: Result) -> None:
            found.append(result)
            patient.judge.take(is_good=result.is_good, now=result.at)
            if len(found) >= count:
                enough.set()

        rounds = Rounds(note, lambda _error: None)
        for each in patients:
            rounds.add(each)
        async with asyncio.timeout(30 * PATIENCE):
            await enough.wait()
        then(rounds)
        rounds.close()
        assert len(rounds) == 0
        await asyncio.sleep(0)

    asyncio.run(run())
    return found


def test_a_server_is_asked_again_and_again() -> None:
    check = Scripted()
    going(5, patient(check))
    assert check.most_at_once == 1


def test_while_results_speak_against_the_judgement_it_is_asked_sooner() -> None:
    steady = patient(Scripted())
    changing = patient(Scripted())
    changing.judge.is_good = False
    assert (steady.wait_s, changing.wait_s) == (0.01, 0.0025)


def test_a_bounded_number_is_asked_at_a_time_and_the_rest_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds_module, "AT_ONCE", 3)
    check = Scripted(takes_s=0.02)
    late: list[int] = []
    going(9, *(patient(check) for _ in range(9)), then=lambda rounds: late.append(rounds.late))
    assert check.most_at_once == 3
    assert late[0] > 0


def test_who_is_removed_is_asked_no_longer_and_what_is_under_way_ends() -> None:
    check = Scripted(takes_s=60.0)
    hanging, other = patient(check), patient(Scripted())

    def leave(rounds: Rounds) -> None:
        rounds.remove(hanging)
        assert len(rounds) == 1

    going(5, hanging, other, then=leave)
    assert check.at_once == 0


def test_one_that_cannot_be_asked_is_asked_again() -> None:
    check = Scripted(OSError(errno.EMFILE, "Too many open files"), "fine")
    one = patient(check)
    found = going(1, one)
    assert found[0].said == "fine"
    assert one.trouble == ""


def test_a_fault_in_what_is_told_ends_no_rounds() -> None:
    async def run() -> None:
        twice = asyncio.Event()
        calls = []

        def fail(_patient: Patient, _result: Result) -> None:
            calls.append(1)
            if len(calls) > 1:
                twice.set()
            raise ZeroDivisionError

        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        rounds = Rounds(fail, lambda _error: None)
        rounds.add(patient(Scripted()))
        async with asyncio.timeout(30 * PATIENCE):
            await twice.wait()
        rounds.close()

    asyncio.run(run())


def test_asking_now_counts_as_a_result() -> None:
    found: list[bool] = []

    async def run() -> None:
        rounds = Rounds(lambda _, result: found.append(result.is_good), lambda _error: None)
        one = patient(Scripted("fine"), interval_s=3600.0)
        rounds.add(one)
        result = await rounds.now(one)
        assert result.said == "fine"
        assert one.last is result
        rounds.close()

    asyncio.run(run())
    assert found == [True]
