"""Queue models held against ground truth: fit, score on held-back time, keep for backtests.

The calibrated model is `Power`: a cancelled lot stood behind us with log odds n·log(back / front) +
bias. That is a logistic regression on the cancels seen at the hypothetical orders' levels, each weighted by the
share of the level it took; intervals come from resampling blocks of time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.calibration.hypothetical_orders import (
    AGES,
    Cancels,
    Followed,
    HypotheticalOrders,
    L3Day,
    blocks,
    chosen,
    concatenate,
    follow,
    watch,
)
from engine.config import CalibrateConfig
from market.errors import ConfigError, DataError
from market.files import write_json
from venues.recordings.catalog import Catalog
from venues.simulation.queues import Fifo, Nautilus, Optimistic, Pessimistic, Power, Proportional, QueueConfig

SCHEMA = 1
SHIPPED = Path(__file__).with_name("queue_calibration.json")
TRUTH = "fifo"
_MIN_CANCELS = 100
_MAX_STEPS = 60


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fitted queue model.

    Parameters
    ----------
    schema : int
    instrument : str
    days : list[str]
        Days it was fitted and judged on.
    n, bias : Estimate
        Of `Power`.
    cancels : int
        Cancels it was fitted on.
    models : dict
        Scores by model on held-back time.
    calibrated : dict
        Those of the calibrated one.

    """

    schema: int
    instrument: str
    days: list[str]
    n: Estimate
    bias: Estimate
    cancels: int
    models: dict[str, dict[str, float | None]]
    calibrated: dict[str, float | None]


def fit(cancels: Cancels, block_s: float, draws: int, seed: int) -> tuple[Estimate, Estimate]:
    """(n, bias) by weighted logistic regression; intervals from resampled blocks of time.

    Raises
    ------
    DataError
        Too few cancels to fit on.

    """
    if len(cancels.weight) < _MIN_CANCELS or cancels.behind.all() or not cancels.behind.any():
        raise DataError(
            f"only {len(cancels.weight)} cancels were seen at these orders' levels, {_MIN_CANCELS} of both kinds are "
            "needed: give more days, or raise calibrate.orders"
        )
    x = np.stack([np.log(cancels.sides[:, 1] / cancels.sides[:, 0]), np.ones(len(cancels.weight))], 1)
    y = cancels.behind.astype(np.float64)
    best = _logistic(x, y, cancels.weight)
    groups = list(blocks(cancels.ts_ns, block_s))
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for _ in range(draws):
        pick = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        drawn.append(_logistic(x[pick], y[pick], cancels.weight[pick]))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    n, bias = (Estimate(float(best[k]), float(low[k]), float(high[k])) for k in range(2))
    return n, bias


def _logistic(x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newton's method with a ridge so slight that it only keeps a separable draw finite."""
    beta = np.zeros(x.shape[1])
    ridge = 1e-3 * np.eye(x.shape[1])
    for _ in range(_MAX_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weight * (y - p)) - ridge @ beta
        hessian = (x * (weight * p * (1.0 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return beta


def score(orders: HypotheticalOrders, name: str, block_s: float, draws: int, seed: int) -> dict[str, float | None]:
    """Hold one model's beliefs against the truth.

    Fill rates are fractions of the hypothetical orders; biases are model minus truth; `…_low` and `…_high` bound
    95% of resampled blocks of time.
    """
    fate, truth = orders.fates[name], orders.fates[TRUTH]
    error = fate.ahead - truth.ahead
    known = ~np.isnan(error)
    share = error / np.maximum(orders.start[:, None], 1.0)
    both = ~np.isnan(fate.filled_s) & ~np.isnan(truth.filled_s)
    groups = list(blocks(orders.joined, block_s))
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for _ in range(draws):
        pick = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        drawn.append(_biases(_take(fate, pick), _take(truth, pick)))
    fill, mark = _biases(fate, truth)
    bounds = np.nanquantile(np.array(drawn), [0.025, 0.975], axis=0)
    return {
        "phantoms": float(len(orders.joined)),
        "fill_rate": _mean(~np.isnan(fate.filled_s)),
        "fill_rate_true": _mean(~np.isnan(truth.filled_s)),
        "fill_rate_bias": fill,
        "fill_rate_bias_low": _number(bounds[0, 0]),
        "fill_rate_bias_high": _number(bounds[1, 0]),
        "fill_error": _mean(np.isnan(fate.filled_s) != np.isnan(truth.filled_s)),
        "ahead_bias_lots": _mean(error[known]),
        "ahead_error_lots": _mean(np.abs(error[known])),
        "ahead_bias_share": _mean(share[known]),
        "ahead_error_share": _mean(np.abs(share[known])),
        "time_to_fill_bias_s": _mean(fate.filled_s[both] - truth.filled_s[both]),
        "markout_ticks": _mean(fate.markout[~np.isnan(fate.markout)]),
        "markout_ticks_true": _mean(truth.markout[~np.isnan(truth.markout)]),
        "markout_bias_ticks": mark,
        "markout_bias_ticks_low": _number(bounds[0, 1]),
        "markout_bias_ticks_high": _number(bounds[1, 1]),
    }


def _take(fate: Followed, pick: NDArray[np.int64]) -> Followed:
    return Followed(fate.filled_s[pick], fate.markout[pick], fate.ahead[pick])


def _biases(fate: Followed, truth: Followed) -> tuple[float, float]:
    """Bias of the fill rate and of the mean markout of fills."""
    fill = float((~np.isnan(fate.filled_s)).mean() - (~np.isnan(truth.filled_s)).mean())
    ours, true = fate.markout[~np.isnan(fate.markout)], truth.markout[~np.isnan(truth.markout)]
    return fill, float(ours.mean() - true.mean()) if len(ours) and len(true) else float("nan")


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def calibrate(
    days: list[L3Day], instrument: str, config: CalibrateConfig, progress: Callable[[float], None]
) -> tuple[Calibration, HypotheticalOrders]:
    """Fit on the first part of the time, judge all models on the rest.

    Returns
    -------
    tuple[Calibration, HypotheticalOrders]
        What was found, and the hypothetical orders.

    """
    total = 2 * len(days)
    watched: list[Cancels] = []
    joined: list[NDArray[np.int64]] = []
    for i, day in enumerate(days):
        part, cancels = watch(day, config, _part(progress, i, total))
        watched.append(cancels)
        joined.append(part.joined)
    times = np.concatenate(joined)
    if not len(times):
        raise DataError(f"{instrument}: no hypothetical order could be placed; the recording is too short or too thin")
    cut = int(np.quantile(times, config.fit_share))
    parts = [_before(cancels, cut) for cancels in watched]
    cancels = Cancels(
        np.concatenate([c.sides for c in parts]),
        np.concatenate([c.weight for c in parts]),
        np.concatenate([c.behind for c in parts]),
        np.concatenate([c.ts_ns for c in parts]),
    )
    n, bias = fit(cancels, config.block_s, config.draws, config.seed)
    judged = []
    for i, day in enumerate(days):
        if day.steps[-1][0] <= cut:
            continue
        models = [Fifo(), Nautilus(), Pessimistic(), Optimistic(), Proportional(), Power(n.value, bias.value)]
        judged.append(follow(day, models, config, _part(progress, len(days) + i, total)))
    everyone = concatenate(judged)
    held = chosen(everyone, everyone.joined > cut + round(config.horizon_s * 1e9))
    names = [name for name in held.fates if name != TRUTH]
    scores = {name: score(held, name, config.block_s, config.draws, config.seed) for name in names}
    scores["calibrated"] = scores.pop("power")
    held.fates["calibrated"] = held.fates.pop("power")
    found = Calibration(
        SCHEMA,
        instrument,
        [str(day.day.date) for day in days],
        n,
        bias,
        len(cancels.weight),
        scores,
        scores["calibrated"],
    )
    return found, held


def _part(progress: Callable[[float], None], index: int, total: int) -> Callable[[float], None]:
    return lambda share: progress((index + share) / total)


def _before(cancels: Cancels, cut: int) -> Cancels:
    keep = cancels.ts_ns < cut
    return Cancels(cancels.sides[keep], cancels.weight[keep], cancels.behind[keep], cancels.ts_ns[keep])


# ── kept for backtests ────────────────────────────────────────────────────────────────────────


def path_of(catalog: Catalog, instrument: str) -> Path:
    """Where an instrument's calibration is kept."""
    return catalog.root / "calibration" / f"{instrument}.json"


def save(path: Path, found: Calibration) -> None:
    """Keep a calibration for backtests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found, indented=True)


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    ConfigError
        It is not there or not one.

    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the queue calibration: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not a queue calibration ({error}); make it with `cmm calibrate`") from error
    if found.schema != SCHEMA:
        raise ConfigError(f"{path}: written by another version; make it anew with `cmm calibrate`")
    return found


def resolve(catalog: Catalog, instrument: str, date: dt.date, config: QueueConfig) -> tuple[QueueConfig, str]:
    """Settle what `calibrated` means for a day, with a sentence on why."""
    if config.model != "calibrated":
        return config, f"queue model {config.model}, as configured"
    own = path_of(catalog, instrument)
    if config.file is not None:
        found, why = read(Path(config.file)), f"of {config.file}"
        if found.instrument == instrument and max(found.days) >= str(date):
            why += ": WARNING, fitted on this day or later ones"
    elif own.exists() and max((own_fit := read(own)).days) < str(date):
        found, why = own_fit, f"fitted to {instrument} on {', '.join(own_fit.days)}"
    else:
        found, why = read(SHIPPED), "as shipped: nothing was fitted to this instrument on earlier days"
        why += f" (it comes from {read(SHIPPED).instrument})"
    n, bias = found.n, found.bias
    text = f"n = {n.value:.2f} [{n.low:.2f}, {n.high:.2f}], bias = {bias.value:.2f} [{bias.low:.2f}, {bias.high:.2f}]"
    return QueueConfig(model="power", n=n.value, bias=bias.value), f"calibrated queue, {text}, {why}"


__all__ = ["AGES", "Calibration", "Estimate", "calibrate", "fit", "path_of", "read", "resolve", "save", "score"]
