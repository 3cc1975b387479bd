"""A network interface whose packets come from this program, and which is gone when it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import sysctls
from lvsd.net import addresses, links
from lvsd.net.kernel import talking

NAME: Final = "lvsd-tunnel"

_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_IFREQ: Final = struct.Struct("=16sH22x")

_VNET_HEADER: Final = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, GSO type, header length, GSO size, checksum start and offset."""
_NEEDS_CSUM: Final = 1
_WHOLE: Final = _VNET_HEADER.pack(0, 0, 0, 0, 0, 0)

SYSCTLS: Final = (
    ("ipv4", "rp_filter", "2"),
    ("ipv4", "forwarding", "0"),
    ("ipv6", "addr_gen_mode", "1"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "disable_ipv6", "0"),
)
"""What tunnelled packets need, and what keeps the interface to that.

rp_filter: a client is reached by another interface than its packets come from; with 2 it is enough
that it is reached at all. The greater of this and of ``all`` counts, so that 0 would not do.
Nothing is forwarded from here, and IPv6 has no address here of its own.
"""

ADDRESS: Final = bytes((192, 0, 0, 8))
"""The dummy address (RFC 7600): rp_filter drops all that comes from an interface without one
(no_addr in __fib_validate_source), even where it does not ask which interface it is."""


class TunDevice:
    """The host receives what is written here. Raise KernelError, PrivilegeError."""

    def __init__(self, name: str = NAME) -> None:
        operation = f"make the interface {name}"
        try:
            self._descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _refusal(operation, error) from error
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(self._descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
            prepare(name)
        except OSError as error:
            os.close(self._descriptor)
            raise _refusal(operation, error) from error
        except KernelError:
            os.close(self._descriptor)
            raise

    def write(self, packet: bytes, checksum_start: tuple[int, int] | None) -> bool:
        """Have the host receive an IP packet; return whether it took it.

        ``checksum_start``: the kernel is to compute the checksum over what begins there, and to
        put it so many bytes behind that.
        """
        header = _WHOLE
        if checksum_start:
            header = _VNET_HEADER.pack(_NEEDS_CSUM, 0, 0, 0, *checksum_start)
        try:
            os.writev(self._descriptor, (header, packet))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Remove the interface."""
        os.close(self._descriptor)


def prepare(name: str) -> None:
    """Have the host accept tunnelled packets from an interface, and bring it up.

    Raise OSError for what is not written to a sysctl, KernelError for the rest.
    """
    for family, key, value in SYSCTLS:
        with suppress(FileNotFoundError):  # a kernel without IPv6
            sysctls.write(f"net.{family}.conf.{name}.{key}", value)
    with talking() as kernel:
        index = socket.if_nametoindex(name)
        try:
            kernel.do(addresses.adding(index, ADDRESS, scope=addresses.HOST))
        except KernelError as error:
            if error.errno != errno.EEXIST:  # by an earlier call
                raise
        kernel.do(links.changing(index, up=True))


def _refusal(operation: str, error: OSError) -> KernelError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run as root or with CAP_NET_ADMIN")
    if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
        remedy = f"boot a kernel with TUN, and have {_DEVICE} (`mknod {_DEVICE} c 10 200`)"
        return KernelError(operation, error, remedy)
    if error.errno == errno.EBUSY:
        return KernelError(operation, error, "see who has it: another lvsd realserver?")
    return KernelError(operation, error, "see whether it can be done by `ip tuntap add`")
