"""The file that connections outlive an engine in: what is believed, and what is not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lvsd.core.snapshot import SLOT, KeptNumbers, Kind, read_numbers, write_numbers
from lvsd.io.private_files import UntrustedError
from lvsd.io.state_file import AHEAD, HEADER, STEP, TRIES, StateFile, remove

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = KeptNumbers(bytes(8), 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Have a place that only we write to."""
    tmp_path.chmod(0o700)
    return tmp_path / "run" / "state-1"


@pytest.fixture
def written(path: Path) -> Path:
    """Have a file with one record."""
    file = opened(path)
    write_numbers(file.buffer, file.take(), NUMBERS)
    file.close()
    return path


def opened(path: Path) -> StateFile:
    """Return the file, read."""
    file = StateFile.open(path)
    file.begin_reading()
    file.end_reading()
    return file


def records(path: Path) -> tuple[list[KeptNumbers | None], str]:
    """Return the records of a file, and why there are none of before."""
    file = StateFile.open(path)
    try:
        found = [at for each in file.begin_reading().values() for at in each]
        file.end_reading()
        return [read_numbers(file.buffer, at) for at in found], file.why_empty
    finally:
        file.close()


def test_what_was_written_is_there_for_the_next_one(written: Path) -> None:
    assert records(written) == ([NUMBERS], "")
    assert records(written) == ([NUMBERS], "")


def test_where_there_is_none_one_begins_that_nobody_else_can_read(path: Path) -> None:
    assert records(path) == ([], "no lvsd left a state")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == HEADER + STEP


def _cut_off(path: Path) -> None:
    os.truncate(path, HEADER + STEP - SLOT)


def _odd(path: Path) -> None:
    os.truncate(path, HEADER + STEP + SLOT)


def _of_others(path: Path) -> None:
    path.chmod(0o666)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _directory(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _at(offset: int, data: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_cut_off, "it is cut off"),
        (_odd, "it is cut off"),
        (_of_others, "it can be written by others"),
        (_link, "it cannot be opened: Too many levels of symbolic links"),
        (_directory, "it is no file"),
        (_at(0, b"ELF"), "it is not lvsd's"),
        (_at(8, b"\xff\xff"), "it is of another version, written by lvsd "),
        (_at(12, b"0000"), "it is from before this boot, or of another network namespace"),
    ],
)
def test_what_is_not_exactly_ours_is_not_believed_and_one_begins_anew(
    written: Path, change: Callable[[Path], None], why: str
) -> None:
    change(written)
    found, said = records(written)
    assert (found, said.startswith(why)) == ([], True), said
    assert records(written) == ([], "")


def test_a_file_that_engines_die_of_is_read_no_more(written: Path) -> None:
    for _ in range(TRIES):
        file = StateFile.open(written)
        assert file.why_empty == ""
        assert file.begin_reading()
        file.close()  # as if it had died there
    found, why = records(written)
    assert (found, why) == ([], f"{TRIES} engines in a row ended while they read it")


def test_the_one_record_that_two_engines_in_a_row_died_over_is_dropped(path: Path) -> None:
    file = opened(path)
    first, second = file.take(), file.take()
    for at in (first, second):
        write_numbers(file.buffer, at, NUMBERS)
    file.close()
    for fatal, left in (
        (second, [first, second]),
        (first, [first, second]),
        (0, [first, second]),
        (first, [first, second]),
        (first, [first, second]),
        (0, [second]),
    ):
        file = StateFile.open(path)
        assert file.begin_reading() == {Kind.NUMBERS: left}
        assert file.was_fatal == (len(left) == 1)
        file.end_reading()
        file.taking_in(fatal)
        file.close()


def test_one_engine_has_it_at_a_time(written: Path) -> None:
    file = StateFile.open(written)
    with pytest.raises(BlockingIOError):
        StateFile.open(written)
    file.close()
    assert records(written) == ([NUMBERS], "")


def test_a_directory_that_others_write_to_is_not_trusted(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(UntrustedError, match="its directory can be written by others"):
        StateFile.open(path)


def test_it_grows_and_every_slot_is_given_once(path: Path) -> None:
    file = opened(path)
    slots = STEP // SLOT
    given = [file.take() for _ in range(2 * slots + 1)]
    assert len(set(given)) == len(given)
    assert given == sorted(given)
    assert given[0] == HEADER
    assert len(file.buffer) == path.stat().st_size == HEADER + 3 * STEP
    file.close()


def test_room_is_made_ahead(path: Path) -> None:
    file = opened(path)
    for _ in range(STEP // SLOT - AHEAD):
        file.take()
    file.look()
    assert len(file.buffer) == HEADER + STEP
    file.take()
    file.look()
    assert len(file.buffer) == HEADER + 2 * STEP
    file.close()


def test_where_there_is_no_room_no_slot_is_given_until_there_is(
    path: Path, full: list[bool]
) -> None:
    full[0] = False
    file = opened(path)
    given = [file.take() for _ in range(STEP // SLOT)]
    full[0] = True
    assert [file.take() for _ in range(3)] == [0, 0, 0]
    with pytest.raises(OSError, match="No space left"):
        file.look()
    file.give_back(given.pop())
    assert file.take()
    full[0] = False
    assert file.take() == 0  # nobody tries with every packet
    file.look()
    assert file.take()
    file.close()


def test_without_room_for_any_there_is_no_file(path: Path, full: list[bool]) -> None:
    full[0] = True
    with pytest.raises(OSError, match="No space left"):
        StateFile.open(path)
    assert list(path.parent.iterdir()) == []


def test_removing_it_says_how_many_connections_it_had(path: Path, written: Path) -> None:
    file = opened(written)
    file.buffer[file.take()] = Kind.CONNECTION
    file.close()
    assert remove(path) == 1
    assert remove(path) is None
