"""Forwarders: one file per way to reach a real server, all of them pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.dr import Dr
from forwarders.fullnat import Fullnat
from forwarders.local import Local
from forwarders.nat import Nat
from forwarders.tun import Tun

if TYPE_CHECKING:
    from forwarders.base import Forwarder

__all__ = ["FORWARDERS", "Dr", "Fullnat", "Local", "Nat", "Tun"]

FORWARDERS: dict[str, type[Forwarder]] = {
    forwarder.name: forwarder for forwarder in (Nat, Dr, Tun, Fullnat)
}
"""Every forwarder by the name that the configuration uses."""
