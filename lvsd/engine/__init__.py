"""The engine: the process that moves packets, and how its supervisor talks with it."""
