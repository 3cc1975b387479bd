"""The control socket and lvsadm, its client."""
