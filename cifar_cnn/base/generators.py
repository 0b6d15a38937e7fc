"""Random number generators that depend only on a key."""

import torch


def generator(*key: int) -> torch.Generator:
    """Create a generator seeded with all numbers of ``key``; similar keys give unrelated streams.

    Source: SplitMix64 (Steele, Lea, Flood 2014), applied to the numbers in turn.
    """
    state = 0
    for number in key:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator().manual_seed(state)
