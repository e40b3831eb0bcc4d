"""What a training span must hold before anything is learnt from it."""

from __future__ import annotations

import numpy as np

from models.errors import ModelError
from models.features.book_features import REGIMES
from models.features.dataset import Dataset
from models.features.labels import cells, normalised
from models.features.scores import correlation

_LEAST_IN_REGIME = 100


def check(data: Dataset, regimes: int, leak_limit: float) -> None:
    """Refuse spans without trades, without a regime, or with a feature that knows the outcome.

    Raises
    ------
    ModelError
        Names the day, the regime or the feature.

    """
    for i, source in enumerate(data.sources):
        rows = data.source == i
        if rows.any() and not data.outcomes[rows, 2].any():
            raise ModelError(
                f"{source.instrument} {source.date} holds no trades, so volume cannot be learnt from it; "
                "leave that day out"
            )
    counts = np.bincount(cells(data.regime, regimes), minlength=regimes)
    if regimes == len(REGIMES):
        for name, count in zip(REGIMES, counts, strict=True):
            if count < _LEAST_IN_REGIME:
                raise ModelError(
                    f"the training span holds only {count} samples of the regime {name}, its students would learn "
                    "nothing; give more days to --train or set train.students.regimes=1"
                )
    find_leak(data, leak_limit)


def find_leak(data: Dataset, limit: float) -> None:
    """Refuse a feature that forecasts the mid better by itself than any honest one could.

    Raises
    ------
    ModelError
        Names the feature.

    """
    mid = normalised(data)[:, 0].astype(np.float64)
    for i, name in enumerate(data.spec.names):
        skill = abs(correlation(data.features[:, i].astype(np.float64), mid))
        if skill > limit:
            raise ModelError(
                f"feature {name} correlates {skill:.2f} with the mid change that comes after it: it knows the future; "
                "look for the leak in its recording (or raise train.leak_limit if you can explain it)"
            )
