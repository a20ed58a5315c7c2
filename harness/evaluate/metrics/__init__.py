"""One file per metric; all that lie here are registered."""

from harness.registry import import_all

import_all(__name__)
