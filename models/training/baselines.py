"""What the ensemble has to beat, from the same features on the same splits: last value, ridge, LightGBM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.features.dataset import Dataset
from models.features.labels import denormalise, normalised
from models.features.scaler import Scaler, linear_fit

type Forecaster = Callable[[Dataset], NDArray[np.float64]]
"""Natural units, (rows, 3)."""

_TREES, _LEAVES, _RATE, _LEAF_ROWS = 400, 31, 0.03, 200
_STOP_AFTER = 30
_MOST_ROWS = 200_000


def last_value(data: Dataset) -> NDArray[np.float64]:
    """The mid stays, the spread stays, volume goes on at its mean rate."""
    log_spread = data.features[:, data.spec.names.index("log_spread")].astype(np.float64)
    volume = data.features[:, -1].astype(np.float64)
    return np.stack([np.zeros(len(data)), np.exp(log_spread), volume], 1)


def ridge(train: Dataset, scaler: Scaler) -> Forecaster:
    """The linear path of the students, by itself."""
    weights = linear_fit([train], scaler)
    return lambda data: denormalise(scaler.natural(scaler.features(data) @ weights), data.features)


def lightgbm(train: Dataset, valid: Dataset, seed: int, threads: int) -> Forecaster:
    """Boosted trees a task, stopped on the validation span; deterministic."""
    import lightgbm as lgb

    settings: dict[str, str | int | float | bool] = {
        "objective": "regression",
        "num_leaves": _LEAVES,
        "learning_rate": _RATE,
        "min_data_in_leaf": min(_LEAF_ROWS, max(len(train) // 50, 5)),
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    rows = slice(None, None, -(-len(train) // _MOST_ROWS))
    x, y, y_valid = train.features[rows], np.ascontiguousarray(normalised(train)[rows].T), normalised(valid)
    x = np.ascontiguousarray(x)
    models = []
    for task in range(len(y)):
        fitted = lgb.Dataset(x, y[task])
        judged = lgb.Dataset(valid.features, y_valid[:, task].copy(), reference=fitted)
        stop = lgb.early_stopping(_STOP_AFTER, verbose=False)
        objective = settings | ({"objective": "huber"} if task == 0 else {})
        models.append(lgb.train(objective, fitted, _TREES, valid_sets=[judged], callbacks=[stop]))
    return lambda data: denormalise(np.stack([m.predict(data.features) for m in models], 1), data.features)
