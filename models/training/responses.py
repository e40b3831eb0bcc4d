"""Probe responses: what a linear read-out of each layer knows of the outcomes, as moments for any bootstrap."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.book_features import REGIMES, TASKS
from models.training.states import Shards
from models.training.train_config import ProbeConfig
from models.training.whiten import View, Whitener

type Array = NDArray[np.float64]

_BLOCKS = 40  # of the held-out span, drawn by the bootstrap
_OUTSIDE = 0.5  # weight of windows outside a probe's regime


class Responses(msgspec.Struct, frozen=True):
    """Held-out moments of probes, by block, so that any correlation and any bootstrap follows from sums.

    Attributes
    ----------
    sums : ndarray (blocks, regimes, layers, 1 + shifts, tasks, 5)
        Count is apart; here forecast, its square, times outcome, outcome, its square.
    count : ndarray (blocks, regimes)

    """

    sums: Array
    count: Array

    def correlation(self, picks: NDArray[np.int64] | None = None) -> Array:
        """S of all blocks or of those drawn: (regimes, layers, 1 + shifts, tasks)."""
        sums = self.sums.sum(0) if picks is None else self.sums[picks].sum(0)
        n = (self.count.sum(0) if picks is None else self.count[picks].sum(0))[:, None, None, None]
        n = np.maximum(n, 1.0)
        f, ff, fy, y, yy = np.moveaxis(sums, -1, 0)
        spread = np.maximum((ff - f * f / n) * (yy - y * y / n), 1e-12)
        result: Array = (fy - f * y / n) / np.sqrt(spread)
        return result


def respond(fitted: Shards, judged: Shards, view: View, config: ProbeConfig) -> Responses:
    """Fit probes on one set of windows, judge them on another."""
    whitener = Whitener.fit(fitted, view, config.components)
    small = fitted.small()
    target = small.target.astype(np.float64)
    places = [len(target) * (j + 1) // (config.shifts + 1) for j in range(config.shifts)]
    targets = np.stack([target, *(np.roll(target, place, 0) for place in places)], 1)  # (windows, 1 + shifts, 3)
    targets = targets.reshape(len(target), -1)
    weights = np.where(small.regime[:, None] == np.arange(len(REGIMES)), 1.0, _OUTSIDE)
    views, components = whitener.basis.shape[0], whitener.basis.shape[2]
    gram = np.zeros((len(REGIMES), views, components, components))
    moment = np.zeros((len(REGIMES), views, components, targets.shape[1]))
    level = (weights.T @ targets) / weights.sum(0)[:, None]  # (regimes, targets)
    start = 0
    for shard in fitted:
        a = whitener(view(shard)).astype(np.float64).transpose(1, 0, 2)  # (views, windows, components)
        rows = slice(start, start + a.shape[1])
        for r in range(len(REGIMES)):
            weighted = a * weights[rows, r][None, :, None]
            gram[r] += weighted.transpose(0, 2, 1) @ a
            moment[r] += weighted.transpose(0, 2, 1) @ (targets[rows] - level[r])
        start += a.shape[1]
    coefficients = np.linalg.solve(gram + config.ridge * np.eye(components), moment)
    return _judge(judged, whitener, view, coefficients, 1 + config.shifts)


def _judge(judged: Shards, whitener: Whitener, view: View, coefficients: Array, variants: int) -> Responses:
    ts = judged.small().ts_ns
    edges = ts[np.linspace(0, len(ts) - 1, _BLOCKS + 1).astype(int)[1:-1]] if len(ts) else ts
    regimes, views = coefficients.shape[:2]
    sums = np.zeros((_BLOCKS, regimes, views, variants, len(TASKS), 5))
    count = np.zeros((_BLOCKS, regimes))
    for shard in judged:
        a = whitener(view(shard)).astype(np.float64)
        block = np.searchsorted(edges, shard.ts_ns, side="right")
        for b in np.unique(block):
            for r in range(regimes):
                rows = (block == b) & (shard.regime == r)
                if not rows.any():
                    continue
                f = np.matmul(a[rows].transpose(1, 0, 2), coefficients[r]).transpose(1, 0, 2)
                f = f.reshape(int(rows.sum()), views, variants, -1)
                y = shard.target[rows].astype(np.float64)[:, None, None, :]
                full = np.broadcast_to(y, f.shape)
                parts = (f, f * f, f * y, full, full * full)
                sums[b, r] += np.stack([part.sum(0) for part in parts], -1)
                count[b, r] += rows.sum()
    return Responses(sums, count)
