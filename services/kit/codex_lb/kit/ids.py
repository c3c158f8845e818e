"""Ids for what we name ourselves (leases, accounts, replicas): unguessable, and in the order of their making."""

from __future__ import annotations

import os
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: ascending in ASCII, without i, l, o, u
TIME_BITS = 50  # milliseconds since 1970; ten characters last until the year 37648
RANDOM_BITS = 80
CHARS = (TIME_BITS + RANDOM_BITS) // 5
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]


def new_id(prefix: str) -> str:
    """A new id such as `lease_01hv3…`: the prefix, an underscore and 26 characters of base32."""
    return format_id(prefix, time.time_ns() // 1_000_000, int.from_bytes(os.urandom(RANDOM_BITS // 8)))


def format_id(prefix: str, at_ms: int, random_bits: int) -> str:
    """The id of these values. Ids with one prefix sort by `at_ms` (milliseconds since 1970), then by `random_bits`."""
    value = (at_ms << RANDOM_BITS) | random_bits
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range((CHARS - 2) * 5, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"
