"""The lab: client, router, director and real servers as network namespaces of one machine."""

from lvsd.lab.lab import Lab
from lvsd.lab.namespace import Namespace

__all__ = ["Lab", "Namespace"]
