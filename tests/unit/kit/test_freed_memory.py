"""Memory that is kept for the next large block."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of ten large blocks, one after the other.
LOOK = """
import resource
from codex_lb.kit.freed_memory import keep_freed_memory
if {keeps}:
    assert keep_freed_memory(64 * 2**20)
bytes(bytearray(8 * 2**20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    bytes(bytearray(8 * 2**20))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keeps: bool) -> int:
    command = [sys.executable, "-c", LOOK.format(keeps=keeps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide for themselves")
def test_large_blocks_that_follow_each_other_are_the_same_memory() -> None:
    assert faults(keeps=True) < faults(keeps=False) / 10
