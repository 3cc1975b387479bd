"""The convention by which pages with transcripts are read."""

from __future__ import annotations

import pytest

from tests.netns.lab.transcript import Command, Task, pattern, tasks

PAGE = """\
# A page

    client$ this is no block of the console

## First

Text.

```console
$ lvsd lab --mode dr --servers 2 --shell
client$ echo one; \\
echo two
one
two
server1# tcpdump -ni eth0
```

```toml
director# nothing
```

```console
director# true
```

## Second

```console
$ lvsd lab --shell
router# ip route
…
```
"""


def test_a_page_is_read_lab_by_lab_and_block_by_block() -> None:
    assert tasks(PAGE) == [
        Task(
            "First",
            ["--mode", "dr", "--servers", "2"],
            [
                [
                    Command("client", "echo one; \\\necho two", ["one", "two"]),
                    Command("server1", "tcpdump -ni eth0", []),
                ],
                [Command("director", "true", [])],
            ],
        ),
        Task("Second", [], [[Command("router", "ip route", ["…"])]]),
    ]


def test_only_tcpdump_runs_beside_the_others() -> None:
    watches = [
        command.watches for task in tasks(PAGE) for block in task.blocks for command in block
    ]

    assert watches == [False, True, False, False]


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```console\nclient$ ls\n```", "line 2: there is no lab for 'client\\$ ls'"),
        ("```console\n$ lvsd lab\nprinted\n```", "line 3: no command prints 'printed'"),
    ],
)
def test_what_keeps_no_convention_is_refused_with_its_line(page: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        tasks(page)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ([], "", True),
        ([], "something\n", False),
        (["a.c"], "a.c\n", True),
        (["a.c"], "abc\n", False),
        (["port …: closed"], "port 4711: closed  \n", True),
        (["port …"], "port 1\nport 2\n", False),
        (["first", "…"], "first\nsecond\nthird\n", True),
        (["first", "…"], "first\n", True),
        (["…", "last"], "first\nsecond\n", False),
    ],
)
def test_output_is_held_against_the_page(expected: list[str], printed: str, *, same: bool) -> None:
    assert bool(pattern(expected).fullmatch(printed)) is same
