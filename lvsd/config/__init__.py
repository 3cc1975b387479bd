"""The configuration: TOML in, a validated model out, every error at once.

``load`` reads a file and returns ``model.Config``. The text is read by ``toml``, which leaves
what is written plainly to ``plain``. Each key by itself is checked by its reader of ``fields``, of
which ``shape`` makes the model's objects; keys against each other by ``rules`` and, for each way
of forwarding, ``modes``, which read the ``document`` as it stands. ``faults`` words what they
find, ``lines`` says where in the file it stands. ``plugins`` makes schedulers, also third parties'.
"""
