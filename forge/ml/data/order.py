"""The order of a run: which sequence stands at which place of which epoch, as a pure function.

Nothing is shuffled and nothing is remembered. A keyed permutation (a Feistel network, walked until it lands inside the
range) answers for any place by arithmetic on 64-bit integers alone, so that the order is the same on every
machine and with every version of every library.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

__all__ = ["permuted"]

_ROUNDS: Final = 8
# The finaliser of SplitMix64: two multiplications spread every bit over all others.
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def permuted(count: int, key: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """The numbers at these places of the permutation of ``range(count)`` that belongs to the key."""
    if count < 1:
        raise ValueError(f"a permutation has at least 1 number, not {count}")
    found = np.array(places, dtype=np.uint64)
    if count == 1:
        return np.zeros(found.shape, dtype=np.int64)
    bits = (count - 1).bit_length()
    keys = _round_keys(count, key)
    found = _network(found, bits, keys)
    # Less than half of the network's range lies outside, so a few walks bring every number in.
    outside = np.flatnonzero(found >= count)
    while outside.size:
        found[outside] = _network(found[outside], bits, keys)
        outside = outside[found[outside] >= count]
    return found.astype(np.int64)


def _round_keys(count: int, key: tuple[int, ...]) -> list[np.uint64]:
    text = ",".join(str(int(number)) for number in (count, *key))
    digest = hashlib.blake2b(text.encode(), digest_size=8 * _ROUNDS, person=b"forge order").digest()
    return [np.uint64(int.from_bytes(digest[at : at + 8], "little")) for at in range(0, len(digest), 8)]


def _network(numbers: np.ndarray, bits: int, keys: list[np.uint64]) -> np.ndarray:
    """One pass: each half is changed in turn by a hash of the other, which any function keeps reversible."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high, low = numbers >> low_bits, numbers & low_mask
    for number, key in enumerate(keys):
        if number % 2:
            low = low ^ (_mixed(high ^ key) & low_mask)
        else:
            high = high ^ (_mixed(low ^ key) & high_mask)
    return (high << low_bits) | low


def _mixed(numbers: np.ndarray) -> np.ndarray:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))
