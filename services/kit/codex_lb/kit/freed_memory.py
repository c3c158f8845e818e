"""Has the C library keep for a while what is freed, for what comes next (mallopt(3), malloc_trim(3)).

glibc gives the top of its heap back to the kernel as soon as it is free, and every page of the next large block is then made
and cleared anew: for a body of 8 MB that was a third of all its CPU. After the first body of 32 MiB it stops doing so by itself.
Other C libraries are left alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os

import anyio.to_thread

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_BLOCK_BYTES = 32 * 2**20  # that comes from the heap, not from a mapping of its own: the most that glibc allows
GIVEN_BACK_EVERY_S = 60.0
OPERATORS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(bytes_max: int) -> bool:
    """From now on so much is kept at the top of each heap, and what is free below it. Whether the C library does so."""
    library = _glibc()
    if library is None or any(name in os.environ for name in OPERATORS_OWN):
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES), (M_TRIM_THRESHOLD, bytes_max))
    return all(library.mallopt(which, value) for which, value in settings)


async def give_back_now_and_then() -> None:
    """Gives what is free back to the kernel every minute, for ever; in a thread, because that may take milliseconds."""
    library = _glibc()
    while library is not None:
        await asyncio.sleep(GIVEN_BACK_EVERY_S)
        await anyio.to_thread.run_sync(library.malloc_trim, 0)


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # a static Python; Windows
        return None
    return library if hasattr(library, "malloc_trim") else None
