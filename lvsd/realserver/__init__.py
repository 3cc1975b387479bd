"""The real server's side: a host that takes the packets which a director sends to it.

It needs nothing for NAT. For DR and TUN it has the virtual addresses on an interface that answers
no ARP for them; for TUN it takes the outer header off as well, by the kernel's tunnel devices or,
where the kernel has none, by lvsd's own program. For FULLNAT see `lvsd.realserver.toa`.
"""
