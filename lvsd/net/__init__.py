"""Links, addresses, routes, rules, neighbours and namespaces, by pyroute2, which only this uses.

`kernel.talking` begins a conversation; the functions of the other modules take it, and return
frozen values. Each module's values are made from a message by one function, apart from the asking,
so that an asynchronous conversation needs no second set of them. Everything blocks, and works in
no thread that runs an event loop. Addresses are packed, 4 or 16 bytes.

Not for the daemon: pyroute2's asynchronous sockets do not work on uvloop. `lvsd.io.netlink` does.
"""
