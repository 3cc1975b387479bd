"""The program nft: our tables, what one holds, and changes as one transaction.

Every table is of the family inet, which sees IPv4 and IPv6. Nothing else of the machine's ruleset
is read or written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lvsd.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterable

Object: TypeAlias = tuple[str, dict[str, Any]]
"""A table, set, chain or rule: which of them, and what it is (libnftables-json(5))."""

_TIMEOUT_S: Final = 30.0
"""How long nft may take: it may have the kernel load modules."""


class KilledError(KernelError):
    """A signal ended nft, which says nothing about what the kernel can do."""


def run(operation: str, script: str, timeout_s: float | None = None) -> None:
    """Feed a script to nft: one transaction. ``timeout_s`` bounds what waits for it.

    Raise KernelError, which says what was not done (``operation``) and nft's first line, and then
    nothing has changed; KilledError, and then it may have; or PrivilegeError.
    """
    _nft(operation, "-f", "-", script=script, timeout_s=timeout_s)


def replace(table: str, commands: Iterable[str]) -> None:
    """Make a table by these commands of nft, in place of one of that name, in one transaction.

    Raise KernelError, and then nothing has changed, or PrivilegeError.
    """
    run(f"make the nftables table inet {table}", _lines([*gone(table), *commands]))


def gone(table: str) -> list[str]:
    """Return the commands after which there is no such table, whether there was one or not."""
    return [f"add table inet {table}", f"delete table inet {table}"]


def delete(table: str) -> bool:
    """Remove a table; return whether there was one. Raise KernelError, PrivilegeError."""
    operation = f"remove the nftables table inet {table}"
    if not _stands(table, operation):
        return False
    run(operation, _lines(gone(table)))
    return True


def listed(table: str) -> list[Object] | None:
    """Return what a table holds, in the order of nft; None without it.

    Raise KernelError, PrivilegeError.
    """
    operation = f"read the nftables table inet {table}"
    if not _stands(table, operation):
        return None
    return _objects(operation, "list", "table", "inet", table)


def _stands(table: str, operation: str) -> bool:
    tables = _objects(operation, "list", "tables", "inet")
    return any(kind == "table" and about["name"] == table for kind, about in tables)


def _objects(operation: str, *words: str) -> list[Object]:
    try:
        answer = json.loads(_nft(operation, "--json", *words))
        return [item for each in answer["nftables"] for item in each.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "install nftables with support for JSON"
        raise KernelError(operation, "nft answers something that is not understood", remedy) from (
            error
        )


def _lines(commands: Iterable[str]) -> str:
    return "".join(f"{command}\n" for command in commands)


def _nft(operation: str, *words: str, script: str = "", timeout_s: float | None = None) -> str:
    """Run nft, ``script`` on its stdin, and return what it printed."""
    timeout_s = _TIMEOUT_S if timeout_s is None else timeout_s
    by_hand = "see whether `nft list ruleset` works by hand"
    try:
        done = subprocess.run(
            ["nft", *words],
            input=script,
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        remedy = "install the package nftables"
        raise KernelError(operation, "there is no program nft", remedy) from None
    except subprocess.TimeoutExpired:
        raise KernelError(operation, f"nft has not ended within {timeout_s:g} s", by_hand) from None
    except OSError as error:
        raise KernelError(operation, error, by_hand) from error
    if done.returncode == 0:
        return done.stdout
    if done.returncode < 0:
        by = signal.strsignal(-done.returncode)
        raise KilledError(operation, f"nft was killed ({by})", "see who did that, and try again")
    said = done.stderr.strip().partition("\n")[0] or f"nft ended with status {done.returncode}"
    if "not permitted" in said:
        raise PrivilegeError(operation, said, "run lvsd as root or with CAP_NET_ADMIN")
    remedy = "the kernel must have nf_tables with CONFIG_NF_TABLES_INET, and be Linux 4.14 or later"
    raise KernelError(operation, said, remedy)
