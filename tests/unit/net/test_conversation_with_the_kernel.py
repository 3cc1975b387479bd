"""A conversation with the kernel ends, whatever fails on the way."""

from __future__ import annotations

from asyncio.selector_events import _SelectorDatagramTransport  # type: ignore[attr-defined]

import pytest

from lvsd.net.kernel import talking

MORE_THAN_THERE_IS = 1 << 62


@pytest.mark.timeout(60)
def test_an_answer_that_there_is_no_memory_for_ends_the_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_SelectorDatagramTransport, "max_size", MORE_THAN_THERE_IS)
    with talking() as kernel:
        for _ in range(2):
            with pytest.raises(MemoryError):
                kernel.dump("link", "list the links", str)
