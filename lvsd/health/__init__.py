"""Health checks: whether real servers are well, and what follows from that.

The checks that come with lvsd are modules of `lvsd.health.checks`, named as typed after
``type =``. A third party's distribution names its own in the entry-point group ``lvsd.checks``::

    [project.entry-points."lvsd.checks"]
    ldap = "lvs_ldap:Ldap"

where ``lvs_ldap.Ldap`` is a `lvsd.health.base.Check` with ``name = "ldap"``. The name of one that
comes with lvsd stays that one's.
"""
