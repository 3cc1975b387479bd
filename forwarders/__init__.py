"""Forwarders: one file per way to reach a real server, all of them pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.nat import Nat

if TYPE_CHECKING:
    from forwarders.base import Forwarder

FORWARDERS: dict[str, type[Forwarder]] = {forwarder.name: forwarder for forwarder in (Nat,)}
"""Every forwarder by the name that the configuration uses."""
