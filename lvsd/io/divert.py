"""Divert the packets of virtual services, and their replies, into NFQUEUE.

All of it is one nftables table of our own, ``inet lvsd``; nothing else of the machine's ruleset
is read or written. It goes up in two steps: first, by netlink, the table with one chain, which
holds the rule that queues; no hook leads there yet, so it does nothing. Then, by ``nft``, all
sets, rules and hooks in one transaction, from which on packets arrive. It goes down in one.

The first step is by netlink because a kernel without the nft expression ``queue``
(CONFIG_NFT_QUEUE) often has iptables' target NFQUEUE, which nft cannot write; and because
netlink says by errno what is missing.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, Literal

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io import nft
from lvsd.io.netlink import (
    NETLINK_NETFILTER,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    be16,
    be32,
    linked,
    nested,
    string,
)
from lvsd.io.ruleset import QUEUE_CHAIN, REASSEMBLY, TABLE, Diverted, changes, script

__all__ = ["Divert", "Diverted", "remove_leftover", "table_stands"]

OnCrash = Literal["drop", "bypass"]

_TABLE: Final = f"table inet {TABLE}"
_CHANGE: Final = f"change nftables {_TABLE}"
_NFPROTO_INET: Final = 1
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = (
    _SUBSYSTEM | kind for kind in (0, 1, 2, 3, 4, 6, 7)
)
_NFGENMSG: Final = struct.Struct("!BBH")  # family, version, resource
_BEGIN: Final = Message(16, 0, _NFGENMSG.pack(0, 0, 10))
_END: Final = Message(17, 0, _NFGENMSG.pack(0, 0, 10))
_BYPASS: Final = 1  # NFT_QUEUE_FLAG_BYPASS, NFQ_FLAG_BYPASS
_XT_INFO: Final = struct.Struct("=HHHxx")  # struct xt_NFQ_info_v3: queue, total, flags
_START_S: Final = 30.0
_RUNNING_S: Final = 5.0
"""How long nft may take: at the start it may load modules, later it holds up every packet."""


class Divert:
    """Sends packets of virtual services to NFQUEUE number ``queue``.

    ``on_crash`` says what becomes of them while nobody reads the queue: "drop", or "bypass",
    which lets them through as if lvsd were not there.

    `up`, `update` and `down` raise KernelError, or PrivilegeError without CAP_NET_ADMIN, and
    then have changed nothing.
    """

    def __init__(self, queue: int, *, on_crash: OnCrash = "drop") -> None:
        self._queue = queue
        self._flags = _BYPASS if on_crash == "bypass" else 0
        self._state: Diverted | None = None
        self._made = False
        """The table was put up by us, and not yet removed."""

    def up(self, diverted: Diverted) -> None:
        """Start to divert. Packets are dropped until somebody reads the queue: open it first."""
        self._create_table()
        self._made = True
        try:
            _go_live(diverted, _START_S if self._state is None else _RUNNING_S)
        except BaseException:
            self._remove_table()
            raise
        self._state = diverted

    def update(self, diverted: Diverted) -> None:
        """Divert other things from now on; flows that are in both never notice.

        Where somebody removed the table (``nft flush ruleset``) it is put up again.
        """
        if self._state is None or not table_stands():
            self.up(diverted)
            return
        if commands := changes(self._state, diverted):
            nft.run(_CHANGE, commands, _RUNNING_S)
        self._state = diverted

    def down(self) -> None:
        """Stop to divert. Harmless when nothing is up; packets in the queue keep their place.

        After a failure it can be tried again.
        """
        if self._made:
            self._remove_table()
        self._state = None

    def _remove_table(self) -> None:
        _delete_table()
        self._made = False

    def _create_table(self) -> None:
        """Put up the table with the one rule that queues; no hook leads to it yet."""
        expressions = (
            native_queue(self._queue, self._flags),
            xt_queue(self._queue, self._flags),
        )
        for expression in expressions:
            try:
                _transact(*_inert_table(expression))
            except OSError as error:
                refused = error
                if error.errno != errno.ENOENT:  # ENOENT: there is no such expression
                    break
            else:
                return
        raise _refusal(refused)


def table_stands() -> bool:
    """Return whether the table is there, ours or that of another lvsd. Raise KernelError."""
    try:
        with linked(NETLINK_NETFILTER) as link:
            link.get(_message(_GETTABLE, 0, string(1, TABLE)))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(error) from error
    return True


def is_ours() -> bool:
    """Return whether the table has the chain by which an lvsd queues. Raise KernelError."""
    try:
        with linked(NETLINK_NETFILTER) as link:
            link.get(_message(_GETCHAIN, 0, string(1, TABLE), string(3, QUEUE_CHAIN)))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(error) from error
    return True


def queue_of_table() -> int | None:
    """Return the number of the queue that the table leads to; None where no rule says it.

    Raise KernelError.
    """
    request = _message(_GETRULE, 0, string(1, TABLE), string(2, QUEUE_CHAIN))
    try:
        with linked(NETLINK_NETFILTER) as link:
            numbers = [_queue_of_rule(answer) for answer in link.dump(request)]
    except OSError as error:
        raise _refusal(error) from error
    return next((number for number in numbers if number is not None), None)


def _queue_of_rule(answer: Message) -> int | None:
    """Return the queue of the first expression of a rule, if `native_queue` or `xt_queue` made it.

    The rules of other tables and chains, which older kernels list as well, have none.
    """
    rule = attributes(answer.body, _NFGENMSG.size)
    if (rule.get(1), rule.get(2)) != (TABLE.encode() + b"\0", QUEUE_CHAIN.encode() + b"\0"):
        return None
    expression = attributes(attributes(rule.get(4, b""), 0).get(1, b""), 0)
    data = attributes(expression.get(2, b""), 0)
    match expression.get(1):
        case b"queue\0":
            return int.from_bytes(data[1], "big")
        case b"target\0":
            number: int = _XT_INFO.unpack_from(data[3])[0]
            return number
        case _:
            return None


def remove_leftover() -> bool:
    """Remove the table that a killed lvsd left behind; return whether there was one.

    Make sure first that its daemon is dead (`lvsd.io.machine.cleanup` does). Raise KernelError.
    """
    return _delete_table()


def native_queue(queue: int, flags: int) -> bytes:
    """Return the nft expression ``queue`` (enum nft_queue_attributes)."""
    return _expression("queue", be16(1, queue), be16(2, 1), be16(3, flags))


def xt_queue(queue: int, flags: int) -> bytes:
    """Return iptables' target NFQUEUE, revision 3, as an nft expression (nft_compat)."""
    info = _XT_INFO.pack(queue, 1, flags)
    return _expression("target", string(1, "NFQUEUE"), be32(2, 3), attribute(3, info))


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, string(1, name), nested(2, *data))


def _inert_table(expression: bytes) -> tuple[Message, ...]:
    create = NLM_F_CREATE | NLM_F_EXCL
    return (
        _message(_NEWTABLE, create, string(1, TABLE)),
        _message(_NEWCHAIN, create, string(1, TABLE), string(3, QUEUE_CHAIN)),
        _message(
            _NEWRULE,
            NLM_F_CREATE | NLM_F_APPEND,
            string(1, TABLE),
            string(2, QUEUE_CHAIN),
            nested(4, expression),
        ),
    )


def _message(kind: int, flags: int, *body: bytes) -> Message:
    return Message(kind, flags, _NFGENMSG.pack(_NFPROTO_INET, 0, 0) + b"".join(body))


def _transact(*messages: Message) -> None:
    with linked(NETLINK_NETFILTER) as link:
        link.do_batch(_BEGIN, messages, _END)


def _delete_table() -> bool:
    try:
        _transact(_message(_DELTABLE, 0, string(1, TABLE)))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(error) from error
    return True


def _go_live(diverted: Diverted, timeout_s: float) -> None:
    """Add sets, rules and hooks, with the first way of reassembly that the kernel has."""
    for reassembly in REASSEMBLY:
        try:
            nft.run(_CHANGE, script(diverted, reassembly), timeout_s)
        except KernelError:
            if reassembly == REASSEMBLY[-1]:
                raise
        else:
            return


def _refusal(error: OSError) -> KernelError:
    """Return the error that tells an operator what the kernel's errno means here."""
    operation = f"nftables {_TABLE}"
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run lvsd as root or with CAP_NET_ADMIN")
    if error.errno == errno.EEXIST:
        return KernelError(
            operation,
            "it is there already",
            "stop the other lvsd in this network namespace; if it was killed, run `lvsd cleanup`",
        )
    if error.errno == errno.ENOENT:
        return KernelError(
            operation,
            "this kernel cannot queue packets to a program",
            "it needs CONFIG_NFT_QUEUE, or NETFILTER_XT_TARGET_NFQUEUE with NFT_COMPAT",
        )
    return KernelError(
        operation,
        error,
        "the kernel must have nf_tables: `modprobe nf_tables`, CONFIG_NF_TABLES_INET",
    )
