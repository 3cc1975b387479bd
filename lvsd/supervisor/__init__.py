"""The supervisor: everything but packets. It starts engines, and starts another where one ends."""
