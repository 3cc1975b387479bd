"""What `lvsd -t` finds: everything wrong with a configuration, or what is doubtful about it here.

Needs no rights. Of the machine only this network namespace is looked at.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.config.doubts import Host, of_file, of_host
from lvsd.config.load import check, located
from lvsd.errors import KernelError
from lvsd.io import sysctls
from lvsd.net import addresses
from lvsd.net.kernel import talking

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.config.faults import Problem
    from lvsd.config.model import Config


@dataclass(frozen=True, slots=True)
class Examination:
    """What came of looking at a file. ``config`` is None when there are problems."""

    config: Config | None
    problems: list[Problem]
    warnings: list[Problem]


def examine(path: Path) -> Examination:
    """Return what is wrong with a file; for a good one what is doubtful, here and in itself."""
    config, problems = check(path)
    if config is None:
        return Examination(None, problems, [])
    doubts = list(of_file(config))
    with suppress(KernelError):  # a kernel that tells nothing is no reason to doubt the file
        doubts += of_host(config, host(config))
    return Examination(config, [], located(path, doubts))


def host(config: Config) -> Host:
    """Return this machine, as far as a configuration speaks of it. Raise KernelError."""
    control = config.daemon.control
    with talking() as kernel:
        own = addresses.every(kernel)
    return Host(
        interfaces=frozenset(name for _, name in socket.if_nameindex()),
        addresses=frozenset(each.address for each in own),
        forwarding={
            family: sysctls.read(name) != "0"
            for family, name in sysctls.FORWARDING.items()
            if sysctls.exists(name)
        },
        folders=frozenset({control} if os.path.isdir(control) else ()),  # noqa: PTH112 - Path's raises
    )
