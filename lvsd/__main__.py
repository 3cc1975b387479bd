"""Run lvsd as ``python -m lvsd``."""

import sys

from lvsd.cli import main

sys.exit(main())
