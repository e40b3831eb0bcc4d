"""Targets in the students' units, free of instrument and of the day's volatility; and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.features.dataset import Dataset

MAX_SIGMAS = 5.0


def normalised(data: Dataset) -> NDArray[np.float32]:
    """Return (rows, 3): mid change over its sigma (clipped), log mean spread and log1p volume over their bases.

    The scales are the last three features (`features.CONTEXT`), known at t.
    """
    return normalise(data.outcomes, data.features)


def normalise(outcomes: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """`normalised` of raw outcomes (rows, ≥ 3) and features (rows, features)."""
    log_sigma, spread_base, volume_base = features[:, -3:].T
    mid = np.clip(outcomes[:, 0] / np.exp(log_sigma), -MAX_SIGMAS, MAX_SIGMAS)
    spread = np.log(np.maximum(outcomes[:, 1], 0.5)) - spread_base
    volume = np.log1p(outcomes[:, 2]) - volume_base
    return np.stack([mid, spread, volume], 1).astype(np.float32)


def natural(data: Dataset) -> NDArray[np.float32]:
    """Return (rows, 3): mid change in ticks, mean spread in ticks, log1p volume in lots."""
    outcomes = data.outcomes[:, :3].copy()
    outcomes[:, 2] = np.log1p(outcomes[:, 2])
    return outcomes


def denormalise(forecast: NDArray[np.floating], features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Forecasts (rows, 3) in units of `normalised` to units of `natural`."""
    context = features[:, -3:].astype(np.float64)
    f = forecast.astype(np.float64)
    columns = [f[:, 0] * np.exp(context[:, 0]), np.exp(f[:, 1] + context[:, 1]), f[:, 2] + context[:, 2]]
    return np.stack(columns, 1)


def cells(regime: NDArray[np.int8], count: int) -> NDArray[np.int64]:
    """Regime of each row on a coarser data axis: 3 as recorded, 2 volatile or not, 1 all alike."""
    if count == 3:
        return regime.astype(np.int64)
    return (regime == 2).astype(np.int64) if count == 2 else np.zeros(len(regime), np.int64)
