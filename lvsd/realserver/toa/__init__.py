"""Show the programs of a real server the client that FULLNAT's TOA option names.

====================  =============================================================
file                  what it is
====================  =============================================================
`bpf/toa.bpf.c`       the three programs that run in the kernel
`prefixes.py`         from whom the option is believed
`libbpf.py`           libbpf, and of bpf(2) what is needed here
`cgroups.py`          where cgroup v2 is, and the cgroups in it
`reader.py`           the programs attached to a cgroup: up, down, status
`run.py`              a program in a cgroup of its own
`cli.py`              ``lvsd realserver toa``
====================  =============================================================

The kernel holds all state: what is attached is found by looking at the cgroups, so nothing on the
disk can be lost or be wrong.
"""
