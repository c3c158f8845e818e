"""Has the C library keep what is freed for what comes next.

glibc gives the top of its heap back to the kernel whenever that is freed, and every page of the next large block is then
made and cleared anew: for a body of 8 MB that was a third of all its CPU (mallopt(3)).
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_BLOCK_BYTES = 32 * 2**20  # that comes from the heap, not from a mapping of its own: the most that glibc allows


def keep_freed_memory(bytes_max: int) -> bool:
    """Keeps at most so much at the end of the heap. Whether the C library knows how: others than glibc do not."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, bytes_max)) and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES))
