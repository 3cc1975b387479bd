"""Links, addresses, routes, rules, neighbours and namespaces, by pyroute2, which only this uses.

`kernel.talking` begins a conversation; the functions of the other modules take it, and return
frozen values. Each module's values are made from a message by one function, apart from the asking,
so that `watch` makes the same of what the kernel tells unasked. Addresses are packed, 4 or 16
bytes.

A conversation blocks, and works in no thread that runs an event loop: there, use
`asyncio.to_thread`. `watch` is for such a loop, but none of uvloop's: libuv does not look again at
a socket that lost messages.
"""
