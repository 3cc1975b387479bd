"""What the quick reader of plain TOML accepts, tomllib reads as the same; the rest it leaves."""

from __future__ import annotations

import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from lvsd.config import plain

WORDS = st.sampled_from(["a", "b", "server", "a-b", "1", "_"])
SPACES = st.sampled_from(["", " ", "\t", "  "])
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                '""',
                "''",
                '"x"',
                "'x\"y'",
                '"x#y"',
                '"x\'y"',
                '"é\u2028"',
                '"\\n"',
                '"\x7f"',
                "'\t'",
            ),
            *("0", "-0", "+1", "01", "1_000", "-17", "123456789012345678901", "0x1", "1.5", "1e9"),
            *("nan", "inf", "true", "false", "True", "1979-05-27", "[]", "{}", "{b = 1}"),
            *(
                '["x"]',
                '[ "x" , "y", ]',
                '["x" "y"]',
                '[,"x"]',
                "['x']",
                "[1]",
                '["x", ["y"]]',
                '["]"]',
            ),
            *('"""x"""', "'''x'''", '""""', '"x" y', '"x', "[\n]", '"""\nb = 1\n"""', ""),
        ]
    ),
    st.text(max_size=6),
    st.integers().map(str),
)
KEYS = st.one_of(WORDS, st.sampled_from(["a.b", '"a"', "'a'", "é", "", "a b"]))
PAIRS = st.tuples(SPACES, KEYS, SPACES, SPACES, VALUES).map(
    lambda p: f"{p[0]}{p[1]}{p[2]}={p[3]}{p[4]}"
)
HEADERS = st.tuples(
    SPACES,
    st.sampled_from(["[{}]", "[[{}]]", "[ {} ]", "[[ {} ]]", "[ [{}] ]", "[{}]]", "[[{}]"]),
    st.one_of(
        WORDS,
        st.tuples(WORDS, SPACES, WORDS).map(lambda w: f"{w[0]}{w[1]}.{w[1]}{w[2]}"),
        st.just("a.b.c"),
        st.just('a."b"'),
    ),
).map(lambda h: h[0] + h[1].format(h[2]))
COMMENTS = st.sampled_from(["", "", "", " ", "# x", '\t# [a] = "', "#\x00", "#\x7f", "#\té"])
LINES = st.tuples(st.one_of(PAIRS, HEADERS, st.just("")), COMMENTS).map("".join)
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x85"])
TEXTS = st.lists(st.tuples(LINES, ENDS).map("".join), max_size=12).map("".join)


@given(TEXTS)
@example("[[a]]\n[[a.b]]\n[[a]]\nb = 1\n")
@example("[[a]]\nb = []\n[[a.b]]\n")
@example("[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\n")
@example("a = []\n[[a]]\n")
@example("[a]\n[[a]]\n")
@example("[[a]]\n[a]\n")
@example("[[a]]\n[a.b]\n")
def test_what_is_plain_is_what_tomllib_reads(text: str) -> None:
    document = plain.loads(text)
    if document is not None:
        expected = tomllib.loads(text)
        assert document == expected
        assert repr(document) == repr(expected)  # true is not 1, and the order is the same


PLAIN_PAIRS = st.tuples(
    SPACES,
    st.integers(0, 9),
    st.sampled_from(['"x"', "'y'", "7", "-3", "true", '["x", "y"]', "[]", '""']),
    st.sampled_from(["", " # why"]),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["[[a]]", "[[a]]\n[[a.b]]", " [[ a ]]\n\n  [[a . c]]  # x"]),
            st.lists(PLAIN_PAIRS, max_size=4, unique_by=lambda pair: pair[1]),
        ),
        max_size=5,
    )
)
def test_what_is_written_plainly_is_read(
    tables: list[tuple[str, list[tuple[str, int, str, str]]]],
) -> None:
    lines = ["top = 1", "[daemon]", "queue = 0"]
    for header, pairs in tables:
        lines.append(header)
        lines += [f"{space}k{number} = {value}{comment}" for space, number, value, comment in pairs]
    text = "\n".join(lines)
    assert plain.loads(text) == tomllib.loads(text)


def test_a_long_text_is_read_like_a_short_one() -> None:
    text = "".join(f'[[a]]\nname = "{number}"\n[[a.b]]\nx = {number}\n' for number in range(10_000))
    assert len(text) > 2 * plain._SLICE
    assert plain.loads(text) == tomllib.loads(text)
    assert plain.loads(f"{text}x = 2\n") is None
