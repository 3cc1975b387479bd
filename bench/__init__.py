"""Benchmarks: packets, picks, memory, end to end."""
