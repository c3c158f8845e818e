"""How commands write: for the width and colours of a terminal, or plainly into a pipe."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PIPED_COLUMNS = 200  # a pipe has no width; a table cut to 80 would lose what somebody greps for


def console() -> Console:
    """Standard output."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if has_width else PIPED_COLUMNS, highlight=False)
