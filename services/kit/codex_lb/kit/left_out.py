"""Keeps modules out of the process that a library takes along where it finds them, and that nobody here needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def leave_out(module: str) -> bool:
    """From now on importing the module fails as if it were not installed; whether it was not imported before.

    None in `sys.modules` is how Python is told so (language reference, 5.3.1).
    """
    if module in sys.modules:
        return False
    sys.modules[module] = None  # type: ignore[assignment] # documented, and missing from the stubs
    return True


@contextmanager
def left_out(module: str) -> Iterator[None]:
    """The same for the time of the block."""
    is_left_out = leave_out(module)
    try:
        yield
    finally:
        if is_left_out:
            del sys.modules[module]
