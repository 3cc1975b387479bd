"""The parts of pyroute2 that lvsd uses, without the rest of it.

pyroute2's own ``__init__`` imports all of it: nftables, wireless, a database, psutil. That is three
fifths of the time and the memory of an import, and each command that asks the kernel about its
network pays them. So the package is put in place unexecuted while its parts are imported; it is
executed when somebody wants a name that is not there by then, as `from pyroute2 import NDB` does.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType


@contextmanager
def _executed_later(name: str) -> Iterator[None]:
    """Have a package's submodules imported in the block without executing the package itself."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:  # somebody has it whole, or it is missing, and the import says so
        yield
        return
    package = sys.modules[name] = module_from_spec(spec)
    try:
        yield
    except BaseException:
        del sys.modules[name]
        raise
    package.__dict__["__getattr__"] = lambda wanted: _executed(package, spec, wanted)


def _executed(package: ModuleType, spec: ModuleSpec, wanted: str) -> Any:
    """Execute a package, and return what it has under a name. Raise AttributeError without it."""
    if wanted.startswith("__") or spec.loader is None:
        raise AttributeError(wanted)
    package.__dict__.pop("__getattr__", None)
    spec.loader.exec_module(package)
    return getattr(package, wanted)


with _executed_later("pyroute2"):
    from pyroute2.iproute.linux import IPRoute
    from pyroute2.netlink.diag import DiagSocket
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["DiagSocket", "IPRoute", "MarshalRtnl", "NetlinkError", "ifinfmsg", "rtmsg"]
