"""Standardisation of features and targets, fitted on the training span, one day in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.choice import OFF, plainest
from models.features.dataset import Dataset
from models.features.labels import normalised

CLIP = 6.0
_RIDGES = (OFF, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # in shares of the samples
_FOLDS = 8


class Scaler(msgspec.Struct, frozen=True):
    """Mean and deviation of features (features,) and of normalised targets (3,)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    target_mean: NDArray[np.float32]
    target_deviation: NDArray[np.float32]

    @staticmethod
    def fit(days: Iterable[Dataset]) -> Scaler:
        """Stream sums over the days; a feature that never changes keeps its unit."""
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
    """Ridge regression of the targets on the features, both standardised: weights (features, 3), streamed.

    The strength of each task is chosen by leaving out eighths of the days; moments suffice for that, so that
    every day is read once.
    """
    sums = [_Moments() for _ in range(_FOLDS)]
    for data in days:
        x, y = scaler.features(data).astype(np.float64), scaler.targets(data).astype(np.float64)
        for fold, rows in enumerate(np.array_split(np.arange(len(data)), _FOLDS)):
            sums[fold].add(x[rows], y[rows])
    whole = _Moments.total(sums)
    errors = np.zeros((len(_RIDGES), _FOLDS, 3))
    for fold, left_out in enumerate(sums):
        rest = _Moments.total(sums[:fold] + sums[fold + 1 :])
        for i, ridge in enumerate(_RIDGES):
            errors[i, fold] = left_out.error(rest.solve(ridge))
    solved = {ridge: whole.solve(ridge) for ridge in _RIDGES}
    chosen = [solved[_RIDGES[plainest(errors[:, :, task])]][:, task] for task in range(3)]
    return np.stack(chosen, 1).astype(np.float32)


class _Moments:
    """Second moments of features and targets."""

    def __init__(self) -> None:
        self.count, self.xx, self.xy, self.yy = 0, np.zeros(()), np.zeros(()), np.zeros(3)

    def add(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self.count += len(x)
        self.xx, self.xy, self.yy = self.xx + x.T @ x, self.xy + x.T @ y, self.yy + (y * y).sum(0)

    @staticmethod
    def total(parts: Sequence[_Moments]) -> _Moments:
        whole = _Moments()
        for part in parts:
            whole.count += part.count
            whole.xx, whole.xy, whole.yy = whole.xx + part.xx, whole.xy + part.xy, whole.yy + part.yy
        return whole

    def solve(self, ridge: float) -> NDArray[np.float64]:
        """Weights (features, 3); the ridge is a share of the samples."""
        if ridge == OFF:
            return np.zeros_like(self.xy)
        weights: NDArray[np.float64] = np.linalg.solve(self.xx + ridge * self.count * np.eye(len(self.xx)), self.xy)
        return weights

    def error(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squared error (3,) of weights."""
        squares = self.yy - 2.0 * (weights * self.xy).sum(0) + (weights * (self.xx @ weights)).sum(0)
        result: NDArray[np.float64] = squares / max(self.count, 1)
        return result
