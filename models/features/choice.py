"""The rule by which strengths are chosen: a fit has to earn its place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OFF = float("inf")
"""The strength at which nothing is fitted."""


def plainest(errors: NDArray[np.float64]) -> int:
    """First candidate that is not worse than the best by more than one standard error of their difference.

    Parameters
    ----------
    errors : ndarray (candidates, blocks)
        Held-out errors, strongest regularisation first (Breiman 1984, section 3.4.3).

    """
    if not errors.size:
        return 0
    best = int(errors.mean(1).argmin())
    worse = errors - errors[best]
    noise = worse.std(1, ddof=1) / np.sqrt(errors.shape[1]) if errors.shape[1] > 1 else np.zeros(len(errors))
    return int(np.flatnonzero(worse.mean(1) <= noise + 1e-12)[0])
