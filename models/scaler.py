"""Standardisation of features and targets, fitted on the training span, one day in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.labels import normalised

CLIP = 6.0
_RIDGE = 100.0  # in samples


class Scaler(msgspec.Struct, frozen=True):
    """Mean and deviation of features (features,) and of normalised targets (3,)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    target_mean: NDArray[np.float32]
    target_deviation: NDArray[np.float32]

    @staticmethod
    def fit(days: Iterable[Dataset]) -> Scaler:
        count, sums, squares = 0, np.zeros(()), np.zeros(())
        for data in days:
            columns = np.concatenate([data.features, normalised(data)], 1).astype(np.float64)
            count, sums, squares = count + len(columns), sums + columns.sum(0), squares + (columns**2).sum(0)
        mean = sums / max(count, 1)
        spread = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0))
        deviation = np.where(spread > 1e-6, spread, 1.0)  # constant features stay constant
        return Scaler(*(a.astype(np.float32) for a in (mean[:-3], deviation[:-3], mean[-3:], deviation[-3:])))

    def features(self, data: Dataset) -> NDArray[np.float32]:
        """Standardised and clipped, (rows, features)."""
        scaled: NDArray[np.float32] = ((data.features - self.mean) / self.deviation).clip(-CLIP, CLIP)
        return scaled

    def targets(self, data: Dataset) -> NDArray[np.float32]:
        """Standardised, (rows, 3)."""
        scaled: NDArray[np.float32] = (normalised(data) - self.target_mean) / self.target_deviation
        return scaled

    def natural(self, forecast: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standardised forecasts (rows, 3) in the units of `labels.normalised`."""
        return forecast.astype(np.float64) * self.target_deviation + self.target_mean


def linear_fit(days: Iterable[Dataset], scaler: Scaler) -> NDArray[np.float32]:
    """Ridge regression of the targets on the features, both standardised: weights (features, 3), streamed."""
    gram, moment = np.zeros(()), np.zeros(())
    for data in days:
        x, y = scaler.features(data).astype(np.float64), scaler.targets(data).astype(np.float64)
        gram, moment = gram + x.T @ x, moment + x.T @ y
    solved: NDArray[np.float32] = np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), moment).astype(np.float32)
    return solved
