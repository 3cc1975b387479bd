"""Everything that talks to the kernel: nftables, NFQUEUE, raw sockets, addresses, sysctls."""
