"""Benchmarks: packets, picks, memory, end to end; and two revisions against each other."""
