"""Network namespaces: made, entered, left, and deleted, whatever happens in between."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.net import links, namespaces
from lvsd.net.kernel import talking

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from lvsd.net import links, namespaces
from lvsd.net.kernel import talking
name = sys.argv[1]
namespaces.add(name)
with namespaces.entered(name), talking() as kernel:
    links.every(kernel)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def here() -> tuple[int, int]:
    """Return which namespace this thread is in."""
    status = Path("/proc/thread-self/ns/net").stat()
    return status.st_dev, status.st_ino


def descriptors() -> set[str]:
    """Return what this process has open."""
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def name() -> Iterator[str]:
    """Make a namespace; delete it afterwards."""
    name = f"lvsd-net-{os.getpid()}-one"
    namespaces.add(name)
    yield name
    namespaces.delete(name)


def test_a_new_namespace_has_a_loopback_only_and_iproute2_knows_it(name: str) -> None:
    shown = subprocess.run(
        ["ip", "-n", name, "-o", "link"], capture_output=True, text=True, check=True
    )
    assert [line.split()[1] for line in shown.stdout.splitlines()] == ["lo:"]


def test_making_and_entering_leave_the_thread_where_it_was_and_nothing_open(name: str) -> None:
    place = here()
    before = descriptors()
    for _ in range(5):
        with namespaces.entered(name), talking() as kernel:
            assert here() != place
            links.every(kernel)
    namespaces.add(f"{name}-2")
    namespaces.delete(f"{name}-2")
    assert here() == place
    assert descriptors() == before


def test_an_error_inside_leaves_the_namespace(name: str) -> None:
    place = here()
    with pytest.raises(ZeroDivisionError), namespaces.entered(name):
        raise ZeroDivisionError
    assert here() == place


def test_a_conversation_stays_in_the_namespace_in_which_it_began(name: str) -> None:
    with ExitStack() as stack:
        with namespaces.entered(name):
            kernel = stack.enter_context(talking())
        kernel.do(links.adding("only-there", "bridge"))
        assert links.find(kernel, "only-there") is not None
    assert "only-there" not in {each for _, each in socket.if_nameindex()}


def test_a_namespace_that_is_there_already_is_left_alone(name: str) -> None:
    with namespaces.entered(name):
        inside = here()
    with pytest.raises(KernelError, match=f"add the network namespace {name}") as caught:
        namespaces.add(name)
    assert caught.value.errno == errno.EEXIST
    with namespaces.entered(name):
        assert here() == inside


def test_what_is_not_there_cannot_be_entered_and_may_be_deleted() -> None:
    with (
        pytest.raises(KernelError, match="find the network namespace nonesuch"),
        namespaces.entered("nonesuch"),
    ):
        pass
    namespaces.delete("nonesuch")


def test_a_process_that_is_killed_inside_leaves_nobody_there() -> None:
    name = f"lvsd-net-{os.getpid()}-killed"
    done = subprocess.run([sys.executable, "-c", KILLED, name], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == []
    namespaces.delete(name)
    assert not (namespaces.NETNS / name).exists()
