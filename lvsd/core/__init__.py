"""The director's core, sans-IO: packets and the time go in, verdicts come out."""
