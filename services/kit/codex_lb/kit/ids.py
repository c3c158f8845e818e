"""Ids for what we name ourselves (leases, accounts, replicas): unguessable, and in the order of their making."""

from __future__ import annotations

import os
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: ascending in ASCII, without i, l, o, u
TIME_BITS = 50  # milliseconds since 1970; ten characters last until the year 37648
RANDOM_BITS = 80
STEP_MASK = 2**40 - 1  # how far apart ids of one millisecond are at most: not to be guessed from one another
CHARS = (TIME_BITS + RANDOM_BITS) // 5
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]


class Sequence:
    """Values that rise with every call, also inside one millisecond and when the clock is set back."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, at_ms: int, random_bits: int) -> int:
        """The next value: of this millisecond and these bits where that rises, else a little above the last one."""
        value = (at_ms << RANDOM_BITS) | random_bits
        if value <= self._last:
            value = self._last + 1 + (random_bits & STEP_MASK)
        self._last = value
        return value


_sequence = Sequence()


def new_id(prefix: str) -> str:
    """A new id such as `lease_01hv3…`: the prefix, an underscore and 26 characters of base32."""
    random_bits = int.from_bytes(os.urandom(RANDOM_BITS // 8))
    return _format(prefix, _sequence.next(time.time_ns() // 1_000_000, random_bits))


def format_id(prefix: str, at_ms: int, random_bits: int) -> str:
    """The id of these values. Ids with one prefix sort by `at_ms` (milliseconds since 1970), then by `random_bits`."""
    return _format(prefix, (at_ms << RANDOM_BITS) | random_bits)


def _format(prefix: str, value: int) -> str:
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range((CHARS - 2) * 5, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"
