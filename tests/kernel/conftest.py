"""What holds for all tests that ask kernel IPVS: how many scenarios, and what agreed.

``--full`` plays all scenarios, else a part of them. ``--conformance FILE`` writes the table of
docs/conformance.md, from what this run has seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel import judge
from tests.kernel.court import Court

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.kernel.court import Answer

HERE = "tests/kernel/"


@dataclass
class Agreement:
    """How many scenarios of each feature were played, and in how many lvsd did as the kernel."""

    kernel: str = ""
    played: Counter[str] = field(default_factory=Counter)
    agreed: Counter[str] = field(default_factory=Counter)

    def note(self, feature: str, differences: list[str]) -> None:
        """Note one scenario of a feature, with what was different."""
        self.played[feature] += 1
        self.agreed[feature] += not differences


AGREEMENT = pytest.StashKey[Agreement]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    parser.addoption("--full", action="store_true", help="all scenarios, not a part of them")
    parser.addoption("--conformance", type=Path, help="the file to write the table to")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing played."""
    config.stash[AGREEMENT] = Agreement()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what asks the kernel where it cannot be asked. Else begin with what waits for nobody.

    Kernels are started with the first test of any kind.
    """
    items.sort(key=lambda item: isinstance(item, pytest.Function) and _asks(item.module))
    why_not = judge.why_not()
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker(pytest.mark.timeout(judge.TIMEOUT_S))
            if why_not:
                item.add_marker(pytest.mark.skip(reason=why_not))


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Return whether all scenarios are to be played."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session", autouse=True)
def court(
    request: pytest.FixtureRequest,
    agreement: Agreement,
    full: bool,  # noqa: FBT001 - a fixture
) -> Iterator[Court]:
    """Ask the questions of all modules whose tests run."""
    modules = {item.module for item in request.session.items if isinstance(item, pytest.Function)}
    asking = sorted(filter(_asks, modules), key=lambda module: module.__name__)
    court = Court(asking, full=full)
    yield court
    agreement.kernel = court.kernel
    court.close()


def _asks(module: ModuleType) -> bool:
    return hasattr(module, "questions")


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, court: Court) -> dict[str, Answer]:
    """Return what the kernel did, for each question of the module."""
    return court.answers(request.module)


@pytest.fixture(scope="session")
def agreement(request: pytest.FixtureRequest) -> Agreement:
    """Return where to note what agreed."""
    return request.config.stash[AGREEMENT]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    path = session.config.getoption("--conformance", None)
    agreement = session.config.stash.get(AGREEMENT, None)
    if path is None or agreement is None or not agreement.played:
        return
    rows = [
        f"| {feature} | {played} | {agreement.agreed[feature]} |"
        for feature, played in agreement.played.items()
    ]
    path.write_text(HEAD.format(kernel=agreement.kernel) + "\n".join(rows) + "\n", "utf-8")


HEAD = """\
# Conformance with kernel IPVS

Made by `make test-kernel`, which plays random and written scenarios to kernel IPVS and to lvsd and
compares what comes out: the servers chosen, the packets that leave, states, counts and timeouts.
The kernel: {kernel}.

What differs deliberately is in [differences.md](differences.md); it counts as agreed here only
where it says so.

| feature | scenarios | agreed |
|---|---|---|
"""
