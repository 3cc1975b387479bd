"""Packets, sans-IO: checked view, checksums, rewriting, ICMP, printing."""
