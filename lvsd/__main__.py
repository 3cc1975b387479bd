"""Run lvsd as ``python -m lvsd``."""

import sys

from lvsd.entry import lvsd

sys.exit(lvsd())
