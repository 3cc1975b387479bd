"""Benchmarks for operators: ``lvsd bench``.

``lvsd bench schedulers`` runs scheduler classes by themselves: no packet moves, no clock but the
one of `speed`. `simulation` is the discrete-event simulation, `quality` what is read off it.
"""
