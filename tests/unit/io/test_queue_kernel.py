"""A kernel without NFQUEUE: its answers are made up here, as the one that runs has it."""

from __future__ import annotations

import errno
import os

import pytest

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import nfqueue
from lvsd.io.netlink import NETLINK_NETFILTER
from lvsd.io.nfqueue import QueueSource


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.EINVAL, KernelError, "the kernel must have nfnetlink_queue: `modprobe nf"),
        (errno.EPROTONOSUPPORT, KernelError, "the kernel must have nfnetlink_queue: `modprobe nf"),
        (errno.EPERM, PrivilegeError, "run lvsd as root or with CAP_NET_ADMIN"),
    ],
)
def test_a_kernel_that_refuses_a_queue_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[KernelError], remedy: str
) -> None:
    def refuse(protocol: int) -> None:
        assert protocol == NETLINK_NETFILTER
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(nfqueue, "linked", refuse)
    with pytest.raises(KernelError) as caught:
        QueueSource(7, lambda *_: b"", clock=float).open()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"take NFQUEUE 7: {os.strerror(number)}; {remedy}")
