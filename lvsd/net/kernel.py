"""One conversation with the kernel about its network, by pyroute2 (rtnetlink(7)).

pyroute2 is imported by the first conversation (`pyroute2_parts`): a command that asks the kernel
nothing does not pay for it.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lvsd.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_Made = TypeVar("_Made")

NEW: Final = 0x600
"""Flags of a request: make something that is not there yet (NLM_F_CREATE, NLM_F_EXCL)."""

_REQUEST, _ACK = 0x001, 0x004
_AT_ONCE: Final = 256
"""Requests in one datagram: if each is refused, the answers fit into the socket's buffer."""
_QUESTIONS_AT_ONCE: Final = 32
"""Answers to so many fit into the socket's buffer."""
_FIRST: Final = 0x10000
"""Sequence numbers of our own, above those that pyroute2 gives."""
_RECEIVE: Final = 1 << 17
_DUMP_INTR: Final = 0x010
"""NLM_F_DUMP_INTR: the list changed while the kernel told it: parts are missing, or there twice."""
_DUMP_TRIES: Final = 10
_ERROR: Final = 2
"""NLMSG_ERROR."""
_REMEDY: Final = "see whether `ip` works in this namespace"


class Message:
    """What pyroute2 makes of a message: fields and attributes by name.

    pyroute2 looks through all attributes for each that it is asked for, which took two thirds of
    the time of reading routes.
    """

    __slots__ = ("_attributes", "_fields")

    def __init__(self, made: Any) -> None:
        self._fields = made
        self._attributes = {slot.name: slot for slot in reversed(made["attrs"])}

    def __getitem__(self, field: str) -> Any:
        return self._fields[field]

    def get_attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute; ``default`` without it."""
        slot = self._attributes.get(name)
        return default if slot is None else slot.value


@dataclass(frozen=True, slots=True)
class Request:
    """Something for the kernel to do: RTM_*, flags, fields and attributes by pyroute2's names.

    ``operation`` and ``remedy`` are for the error when it is refused.
    """

    kind: int
    flags: int
    fields: Mapping[str, int]
    attributes: Sequence[tuple[str, Any]]
    operation: str
    remedy: str


class Kernel:
    """A conversation about the namespace that the thread is in now, wherever it goes later.

    For one thread. Raise KernelError where there is no room for it.
    """

    def __init__(self) -> None:
        conversation, self._failure = _pyroute2()
        try:
            self._socket = conversation(groups=0, ext_ack=True)
        except OSError as error:
            raise KernelError(
                "talk to the kernel about its network", error, "see netlink(7)"
            ) from error
        self._interrupted = False
        self._fault: Exception | None = None
        self._listen_to_loops()
        marshal = self._socket.asyncore.marshal
        is_last = marshal.is_enough

        def look(message: Any) -> bool:
            # Whichever message the kernel marks, the last one included, it is about them all.
            self._interrupted |= bool(message["header"]["flags"] & _DUMP_INTR)
            return bool(is_last(message))

        marshal.is_enough = look

    def _listen_to_loops(self) -> None:
        """Let an error in pyroute2's event loop end the request, and so the conversation.

        Without memory for an answer asyncio gives up the socket, and pyroute2 would wait for ever.
        """
        core = self._socket.asyncore
        make = core.setup_event_loop

        def fail(_: Any, context: Mapping[str, Any]) -> None:
            self._fault = context.get("exception") or OSError(errno.EIO, context["message"])
            for number in core.msg_queue.queues:
                core.msg_queue.put_nowait(number, _error_message(number))

        def made() -> Any:
            loop = make()
            loop.set_exception_handler(fail)
            return loop

        core.setup_event_loop = made
        core.event_loop.set_exception_handler(fail)

    def _asked(self, subject: str, how: str, query: Mapping[str, Any]) -> Iterator[Any]:
        """Yield pyroute2's messages of an answer. Raise its error, OSError or MemoryError."""
        if self._fault:
            raise self._fault
        try:
            yield from getattr(self._socket, subject)(how, **query)
        except self._failure as error:
            raise (self._fault or error) from error

    def close(self) -> None:
        """End the conversation. Harmless when done twice."""
        self._socket.close()

    def dump(
        self, subject: str, operation: str, made: Callable[[Message], _Made], **query: Any
    ) -> list[_Made]:
        """Return a whole list (``subject``: link, addr, route, rule, neigh) as of one time.

        Each is what ``made`` makes of its message, at once: thousands of messages would keep
        Python's garbage collector busy for half of the time. A list that changed while the kernel
        told it is asked for again. Raise KernelError when it never stands still, or the kernel
        refuses.
        """
        for _ in range(_DUMP_TRIES):
            self._interrupted = False
            try:
                found = [made(Message(each)) for each in self._asked(subject, "dump", query)]
            except (self._failure, OSError) as error:
                raise _refusal(operation, error, _REMEDY) from error
            if not self._interrupted:
                return found
        reason = OSError(errno.EINTR, "the list changes faster than it can be read")
        raise KernelError(operation, reason, "try again when the network has settled")

    def get(
        self, subject: str, operation: str, *, lacking: frozenset[int], **query: Any
    ) -> Message | None:
        """Return the answer to a question; None when it is an errno of ``lacking``.

        Raise KernelError, PrivilegeError.
        """
        try:
            found = list(self._asked(subject, "get", query))
        except (self._failure, OSError) as error:
            if _code(error) in lacking:
                return None
            raise _refusal(operation, error, _REMEDY) from error
        return Message(found[0])

    def do(self, *requests: Request) -> None:
        """Have the kernel do something, all in order; those after one that is refused, too.

        Raise KernelError of the first that was refused, with its errno, or PrivilegeError.
        """
        for refusal in self.attempt(requests):
            if refusal is not None:
                raise refusal

    def attempt(self, requests: Sequence[Request]) -> list[KernelError | None]:
        """Do so, and return for each request why it was refused, or None.

        Many go with one send and one answer: of 800 microseconds that pyroute2's own calls take
        each, 100 remain. Raise KernelError when the kernel cannot be asked.
        """
        refused: list[KernelError | None] = []
        for at in range(0, len(requests), _AT_ONCE):
            some = requests[at : at + _AT_ONCE]
            answers = self._exchange(some, only_last=True)
            if len(some) - 1 not in answers:
                raise _lost(some[-1])
            found = (answers.get(number) for number in range(len(some)))
            refused += [each if isinstance(each, KernelError) else None for each in found]
        return refused

    def answers(self, questions: Sequence[Request]) -> list[Message | KernelError]:
        """Return the kernel's answer to each question, or why it refuses to answer.

        Raise KernelError when it cannot be asked.
        """
        found: list[Message | KernelError] = []
        for at in range(0, len(questions), _QUESTIONS_AT_ONCE):
            some = questions[at : at + _QUESTIONS_AT_ONCE]
            answers = self._exchange(some)
            for number, question in enumerate(some):
                answer = answers.get(number)
                if answer is None:  # there was no room for it beside the others
                    answer = self._exchange([question]).get(0)
                if answer is None:
                    raise _lost(question)
                found.append(answer)
        return found

    def _exchange(
        self, requests: Sequence[Request], *, only_last: bool = False
    ) -> dict[int, Message | KernelError]:
        """Send requests; return the answers that came by their numbers, refusals for what they are.

        ``only_last``: nothing but a refusal is wanted of the others.
        """
        last = len(requests) - 1
        data = [
            encode(
                self._socket.marshal.msg_map,
                each,
                _FIRST + number,
                _ACK * (only_last and number == last),
            )
            for number, each in enumerate(requests)
        ]
        found: dict[int, Message | KernelError] = {}
        try:
            self._socket.send(b"".join(data))
            while len(found) <= last and not (only_last and last in found):
                for message in self._received():
                    number = message["header"]["sequence_number"] - _FIRST
                    error = message["header"]["error"]
                    if 0 <= number <= last:
                        request = requests[number]
                        found[number] = (
                            Message(message)
                            if error is None
                            else _refusal(request.operation, error, request.remedy)
                        )
        except BlockingIOError:  # the kernel answers before `send` returns
            return found
        except OSError as error:
            raise _refusal(requests[0].operation, error, requests[0].remedy) from error
        return found

    def _received(self) -> Iterable[Any]:
        """Return the messages of the next datagram. Raise OSError, BlockingIOError without one."""
        while True:
            try:
                parsed: Iterable[Any] = self._socket.marshal.parse(self._socket.recv(_RECEIVE))
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some were lost; the others are there
                    raise
            else:
                return parsed


def encode(classes: Mapping[int, Any], request: Request, sequence: int, flags: int = 0) -> bytes:
    """Return a request as it goes over the socket; ``classes`` are pyroute2's, by RTM_*."""
    message = classes[request.kind]()
    for name, value in request.fields.items():
        message[name] = value
    message["attrs"] = list(request.attributes)
    header = message["header"]
    header["type"] = request.kind
    header["flags"] = request.flags | flags | _REQUEST
    header["sequence_number"] = sequence
    header["pid"] = 0
    message.encode()
    return bytes(message.data)


@cache
def _pyroute2() -> tuple[Any, type[Exception]]:
    """Return pyroute2's conversation and its error."""
    from lvsd.net.pyroute2_parts import (  # noqa: PLC0415 - it takes time
        IPRoute,
        NetlinkError,
        ifinfmsg,
        rtmsg,
    )

    # It leaves out silently what it does not know: of ip6gre that it takes the packets of all
    # senders (IFLA_GRE_COLLECT_METADATA), of a route what `ip nexthop` made (RTA_NH_ID).
    kinds = ifinfmsg.ifinfo.data_map
    kinds["ip6gre"] = _taught(kinds["ip6gre"], 18, "IFLA_IP6GRE_COLLECT_METADATA", "flag")
    rtmsg.nla_map = _taught(rtmsg, 30, "RTA_NH_ID", "uint32").nla_map
    return IPRoute, NetlinkError


def _taught(known: Any, number: int, name: str, form: str) -> Any:
    """Return a class of attributes that knows the one of a number, too."""
    names = known.nla_map
    if name in dict(names):
        return known
    between = ((f"{name}_{at}", "hex") for at in range(len(names), number))
    return type(known.__name__, (known,), {"nla_map": (*names, *between, (name, form))})


@contextmanager
def talking() -> Iterator[Kernel]:
    """Have a conversation for the time of a ``with`` block. Raise KernelError."""
    kernel = Kernel()
    try:
        yield kernel
    finally:
        kernel.close()


def marshal() -> Any:
    """Return what takes pyroute2's messages apart, for a socket of one's own."""
    from lvsd.net.pyroute2_parts import MarshalRtnl  # noqa: PLC0415 - it takes time

    return MarshalRtnl()


def _error_message(number: int) -> bytes:
    """Return the kernel's answer to a request that it cannot read (struct nlmsgerr)."""
    request = struct.pack("=IHHII", 16, 0, 0, number, 0)
    return struct.pack("=IHHIIi", 36, _ERROR, 0, number, 0, -errno.EIO) + request


def _lost(request: Request) -> KernelError:
    reason = OSError(errno.ETIMEDOUT, "the kernel gives no answer")
    return KernelError(request.operation, reason, request.remedy)


def _refusal(operation: str, error: Exception, remedy: str) -> KernelError:
    code = _code(error)
    # The kernel's own words (extended acknowledgement), where it has some, are better.
    said = error.args[1:2]
    reason = OSError(code, str(said[0]) if said and said[0] else os.strerror(code))
    if code in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, reason, "run as root or with CAP_NET_ADMIN")
    return KernelError(operation, reason, remedy)


def _code(error: Exception) -> int:
    code = getattr(error, "code", None) or getattr(error, "errno", None)
    return int(code) if code else errno.EIO
