"""How long to wait before the next try of something that a peer could not be reached for."""

from __future__ import annotations

from datetime import timedelta

_FIRST_S = 0.05
_LONGEST_S = 1.0


def pause_before(tries: int, *, jitter: float) -> timedelta:
    """The pause after so many tries (≥ 1): doubling from 50 ms up to a second, of which up to half is left out.

    ``jitter``: from 0 up to 1, so that many clients of one Redis do not come back at once.
    """
    longest_s = min(_FIRST_S * 2 ** (min(tries, 16) - 1), _LONGEST_S)
    return timedelta(seconds=longest_s * (1 - jitter / 2))
