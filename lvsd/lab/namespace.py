"""One host of the lab: a network namespace to run programs and open sockets in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvsd.errors import KernelError
from lvsd.lab.wait import PATIENCE
from lvsd.net import links
from lvsd.net.kernel import talking
from lvsd.net.namespaces import entered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from lvsd.lab.plan import Addresses, Node

RUN_TIMEOUT_S = 60.0 * PATIENCE


class Namespace:
    """A network namespace that stands for a host.

    ``node`` says what the plan has for it; the switch of a lab has none. ``name`` is what
    ``ip netns exec`` takes. ``directory`` is the host's own place for files. ``processes`` are
    all that were spawned here; the lab ends them.
    """

    def __init__(self, name: str, directory: Path, node: Node | None = None) -> None:
        self.name = name
        self.directory = directory
        self.node = node
        self.processes: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    @property
    def host(self) -> str:
        """The host's name in the plan: client, director, server1."""
        return self.directory.name

    @property
    def way(self) -> str:
        """How the director reaches this real server: nat, dr, tun or fullnat. Else empty."""
        return self._node.way

    @property
    def addresses(self) -> Addresses:
        """The host's main IPv4 and IPv6 address."""
        return self._node.addresses

    @property
    def sources(self) -> tuple[Addresses, ...]:
        """Every address pair of the main interface; a client may speak from each."""
        return self._node.links[0].addresses

    def interface(self, name: str) -> Addresses:
        """Return the main addresses of the named interface."""
        return next(link for link in self._node.links if link.interface == name).addresses[0]

    @property
    def _node(self) -> Node:
        if self.node is None:
            raise LookupError(f"{self.name} is a switch: it has no addresses")
        return self.node

    def entered(self) -> AbstractContextManager[None]:
        """Put this thread into the namespace inside the block, see `lvsd.net.namespaces`."""
        return entered(self.name)

    def run(self, argv: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return what it printed.

        ``options`` go to `subprocess.run`; without any, output is captured as text, a failure
        raises CalledProcessError with the program's own words as a note, and there is a
        minute's time.
        """
        defaults = {"capture_output": True, "text": True, "check": True, "timeout": RUN_TIMEOUT_S}
        if {"stdout", "stderr"} & options.keys():
            del defaults["capture_output"]
        if "input" not in options:
            defaults["stdin"] = subprocess.DEVNULL
        with self.entered():
            try:
                return subprocess.run(argv, **(defaults | options))  # noqa: PLW1510 - in defaults
            except subprocess.CalledProcessError as error:
                error.add_note(f"in {self.name}: {error.stdout or ''}{error.stderr or ''}")
                raise

    def spawn(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a program that the lab ends at the latest when it is removed.

        ``options`` go to `subprocess.Popen`. The program gets a session of its own: Ctrl-C in
        the terminal reaches only the lab, which then ends everything in order.
        """
        defaults = {"stdin": subprocess.DEVNULL, "start_new_session": True}
        with self.entered():
            process = subprocess.Popen(argv, **(defaults | options))
        self.processes.append(process)
        return process

    def crossed(self, interface: str) -> links.Counts:
        """Return what has crossed an interface since it was made. Raise KernelError without it."""
        with self.entered(), talking() as kernel:
            return links.counts(kernel, interface)

    def python(self, code: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Python code by the interpreter that runs us, as `run` does."""
        return self.run([sys.executable, "-c", code], **options)

    def ip(self, *lines: str) -> None:
        """Carry out commands of iproute2, such as ``address add 192.0.2.9/32 dev front``.

        For tests and experiments, which say a change as an operator types it. The lab itself is
        built by `lvsd.net`.

        Raise KernelError with the line that was refused; those before it stay done.
        """
        batch = self.run(["ip", "-batch", "-"], input="\n".join(lines), check=False)
        if batch.returncode:
            number = batch.stderr.rpartition("-:")[2].strip()
            line = lines[int(number) - 1] if number.isdigit() else "; ".join(lines)
            reason = batch.stderr.strip().partition("\n")[0]
            raise KernelError(
                f"ip -n {self.name} {line}", reason, "see whether the kernel has what the lab needs"
            )

    def sysctl(self, key: str, value: str) -> None:
        """Set a sysctl such as ``net.ipv4.ip_forward``. Raise KernelError if that fails."""
        self.set_sysctls({key: value})

    def set_sysctls(self, values: Mapping[str, str]) -> None:
        """Set sysctls. Raise KernelError at the first that fails."""
        with self.entered():
            for key, value in values.items():
                try:
                    _sysctl_path(key).write_text(value, encoding="ascii")
                except OSError as error:
                    raise KernelError(
                        f"set {key}={value} in {self.name}", error, "is /proc/sys writable?"
                    ) from error

    def sysctl_value(self, key: str) -> str:
        """Return the value of a sysctl."""
        with self.entered():
            return _sysctl_path(key).read_text(encoding="ascii").strip()


def _sysctl_path(key: str) -> Path:
    return Path("/proc/sys", *key.split("."))
