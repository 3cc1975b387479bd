"""What a real server is told to be: the options of ``lvsd realserver``, and their JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Iterable

Mode: TypeAlias = Literal["dr", "tun"]
Tunnel: TypeAlias = Literal["ipip", "gue", "gre"]
By: TypeAlias = Literal["auto", "kernel", "lvsd"]
Mss: TypeAlias = int | Literal["auto"]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
TUNNELS: Final[tuple[Tunnel, ...]] = get_args(Tunnel)
WAYS: Final[tuple[By, ...]] = get_args(By)

GUE_PORT: Final = 6080
"""The UDP port that IANA gives to GUE."""

LEAST_MSS, GREATEST_MSS = 88, 0xFFFF - 40
"""What an MSS may be: no less than Linux makes use of (TCP_MIN_MSS), and no more than fits into
the longest IPv4 packet."""

_MAX_PORT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for; addresses are packed.

    ``interface``  has the virtual addresses
    ``tunnel``     TUN only, as ipvsadm's ``--tun-type`` names it
    ``port``       the UDP port of GUE, 0 for the other kinds
    ``directors``  who may send tunnelled packets; nobody named: anybody
    ``by``         who takes the outer header off: the kernel's tunnel device, lvsd, or the first
                   of these that can
    ``mss``        TUN only: the greatest MSS, in bytes, that SYNs from the virtual addresses say;
                   "auto": what fits into the tunnel; None: any
    """

    mode: Mode
    vips: tuple[bytes, ...]
    interface: str = "lo"
    tunnel: Tunnel = "ipip"
    port: int = 0
    directors: tuple[bytes, ...] = ()
    by: By = "auto"
    mss: Mss | None = None

    @classmethod
    def of(
        cls,
        mode: Mode,
        vips: list[str],
        *,
        interface: str = "lo",
        tunnel: Tunnel | None = None,
        port: int | None = None,
        directors: list[str] | None = None,
        by: By = "auto",
        mss: str | None = None,
    ) -> Settings:
        """Return the settings that options say. Raise ValueError, fit for an operator."""
        if not vips:
            raise ValueError("say which virtual address with --vip ADDRESS")
        if mode == "dr" and (tunnel or port or directors or by != "auto" or mss):
            raise ValueError("--tunnel, --port, --from, --by and --mss go with --mode tun only")
        if port is not None and tunnel != "gue":
            raise ValueError("--port goes with --tunnel gue only")
        if port is not None and not 0 < port <= _MAX_PORT:
            raise ValueError(f"--port {port} is not 1 to {_MAX_PORT}")
        gue_port = (port or GUE_PORT) if tunnel == "gue" else 0
        return cls(
            mode,
            _sorted(map(_virtual, vips)),
            interface,
            tunnel or "ipip",
            gue_port,
            _sorted(map(_address, directors or ())),
            by,
            None if mss is None else _mss(mss),
        )

    def json(self) -> dict[str, object]:
        """Return what `from_json` understands, addresses as text."""
        return {
            "mode": self.mode,
            "vips": [text(vip) for vip in self.vips],
            "interface": self.interface,
            "tunnel": self.tunnel,
            "port": self.port,
            "directors": [text(director) for director in self.directors],
            "by": self.by,
            "mss": self.mss,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Settings:
        """Return the settings that `json` was made of. Raise ValueError, KeyError, TypeError."""
        return cls(
            content["mode"],
            tuple(pack(vip) for vip in content["vips"]),
            str(content["interface"]),
            content["tunnel"],
            int(content["port"]),
            tuple(pack(director) for director in content["directors"]),
            content["by"],
            None if content.get("mss") is None else _mss(str(content["mss"])),
        )


def _sorted(addresses: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return each address once, IPv4 first: the same settings whatever the order they came in."""
    return tuple(sorted(set(addresses), key=lambda address: (len(address), address)))


def _address(value: str) -> bytes:
    try:
        return pack(value)
    except ValueError:
        raise ValueError(f'"{value}" is not an IPv4 or IPv6 address') from None


def _mss(value: str) -> Mss:
    if value == "auto":
        return "auto"
    if value.isascii() and value.isdigit() and LEAST_MSS <= int(value) <= GREATEST_MSS:
        return int(value)
    raise ValueError(f"--mss {value} is neither auto nor {LEAST_MSS} to {GREATEST_MSS}")


def _virtual(value: str) -> bytes:
    """Return an address that a virtual service can have."""
    packed = _address(value)
    first = packed[0]
    multicast = first >= 0xE0 if len(packed) == 4 else first == 0xFF
    loopback = first in {0, 127} if len(packed) == 4 else not any(packed[:15])
    link_local = len(packed) == 16 and packed[:2] >= b"\xfe\x80" and packed[:2] < b"\xfe\xc0"
    if multicast or loopback or link_local:
        raise ValueError(f"{value} cannot be a virtual address")
    return packed
