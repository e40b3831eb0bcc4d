"""Targets in the students' units, free of instrument and of the day's volatility."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.targets import MAX_SIGMAS


def normalised(data: Dataset) -> NDArray[np.float32]:
    """Return (rows, 3): mid change over its sigma (clipped), log mean spread and log1p volume over their bases.

    The scales are the last three features (`features.CONTEXT`), known at t.
    """
    log_sigma, spread_base, volume_base = data.features[:, -3:].T
    mid = np.clip(data.outcomes[:, 0] / np.exp(log_sigma), -MAX_SIGMAS, MAX_SIGMAS)
    spread = np.log(np.maximum(data.outcomes[:, 1], 0.5)) - spread_base
    volume = np.log1p(data.outcomes[:, 2]) - volume_base
    return np.stack([mid, spread, volume], 1).astype(np.float32)


def natural(data: Dataset) -> NDArray[np.float32]:
    """Return (rows, 3): mid change in ticks, mean spread in ticks, log1p volume in lots."""
    outcomes = data.outcomes[:, :3].copy()
    outcomes[:, 2] = np.log1p(outcomes[:, 2])
    return outcomes
