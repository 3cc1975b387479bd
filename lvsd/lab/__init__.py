"""The lab: client, router, director and real servers as network namespaces of one machine."""
