"""What the kernel refused of a change of the machine, and what helps."""

from __future__ import annotations

import errno
import os

from lvsd.errors import KernelError, PrivilegeError
from lvsd.packet.address import text


def refusal(operation: str, error: OSError) -> KernelError:
    """Return the error that says what was refused in an operation, and what to do."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root or with CAP_NET_ADMIN")
    if error.errno == errno.EROFS:
        return KernelError(operation, error, "make /proc/sys writable, or set it beforehand")
    if error.errno in {errno.ENODEV, errno.ENXIO}:
        return KernelError(operation, error, "name an interface that `ip link` shows")
    return KernelError(operation, error, "see whether it can be done by hand")


def of_address(interface: str, address: bytes, number: int) -> KernelError:
    """Return the error that says why a packed address is not on an interface, by an errno."""
    putting = f"put {text(address)} on {interface}"
    if number == errno.EACCES:  # without rights it is EPERM (rtnetlink_rcv_msg)
        remedy = f"switch it on by `sysctl -w net.ipv6.conf.{interface}.disable_ipv6=0`"
        return KernelError(putting, "IPv6 is switched off there", remedy)
    return refusal(putting, OSError(number, os.strerror(number)))
