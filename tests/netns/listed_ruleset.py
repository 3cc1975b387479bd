"""The whole nftables ruleset of a network namespace, as JSON.

Not by ``nft -j list ruleset``: nft before 1.0.10 uses memory after it has freed it when it tells a
table's flags in JSON, and lvsd's table has one, its owner. What is printed then is of any kind, or
ends in the middle. So tables are asked for as text, and all else piece by piece, by the library of
nft, as a program per piece would take seconds.
"""

from __future__ import annotations

import ctypes
import json
from typing import Any, Final

_JSON: Final = 1 << 4  # NFT_CTX_OUTPUT_JSON
_KINDS: Final = ("chain", "set")


def listed_ruleset() -> list[dict[str, Any]]:
    """Return tables, oldest first, counters, and chains and sets with what is in them.

    Of the network namespace that this thread is in. What ends meanwhile is left out.
    """
    nft = _Nft()
    try:
        found: list[dict[str, Any]] = [
            {"table": nft.table(line)} for line in nft.run("list tables", 0).splitlines()
        ]
        found += nft.entries("list counters")
        for kind in _KINDS:
            for entry in nft.entries(f"list {kind}s"):
                about = entry.get(kind)
                if about is not None:
                    where = about["family"], about["table"], about["name"]
                    found += nft.entries(f"list {kind} {' '.join(where)}")
        return found
    finally:
        nft.close()


class _Nft:
    """libnftables, which comes with nft."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, command: str, flags: int) -> str:
        """Run a command and return what it prints; nothing if it is refused."""
        self._library.nft_ctx_output_set_flags(self._context, flags)
        status = self._library.nft_run_cmd_from_buffer(self._context, command.encode())
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        return "" if status else printed.decode()

    def entries(self, command: str) -> list[dict[str, Any]]:
        """Run a command and return the entries of its document."""
        document = self.run(command, _JSON)
        listed = json.loads(document)["nftables"] if document else []
        return [entry for entry in listed if "metainfo" not in entry]

    def table(self, name: str) -> dict[str, str]:
        """Describe a table that is called such as "table inet lvsd"."""
        _, family, of_its_own = name.split()
        lines = map(str.strip, self.run(f"list {name}", 0).splitlines())
        flags = next((line for line in lines if line.startswith("flags ")), "")
        return {"family": family, "name": of_its_own, "flags": flags}

    def close(self) -> None:
        """Give up its netlink socket."""
        self._library.nft_ctx_free(self._context)
