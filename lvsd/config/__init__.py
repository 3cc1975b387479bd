"""The configuration: TOML in, a validated model out, every error at once.

``load`` reads a file and returns ``model.Config``. Each key by itself is checked by the model's
``fields``, keys against each other by ``rules`` and, for each way of forwarding, ``modes``, which
read the ``document`` as it stands. ``faults`` words what they find, ``lines`` says where in the
file it stands. ``plugins`` makes schedulers, also third parties'.
"""
