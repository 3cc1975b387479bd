"""lvsd: Linux Virtual Server as a userspace daemon."""

__version__ = "0.1.0"
