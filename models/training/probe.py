"""Normalized fluorescent probe (NFP): which layer knows what, for which task, in which regime.

On RMS-normalised, whitened states of the last token one ridge probe a layer ℓ, task τ and regime r,
fitted on the training span; S = correlation of its forecast with the outcome on the validation span.
Background B̄ and noise σ: the same with circularly shifted training targets, over shifts and layers.

    NFP = [S − B̄]₊ / Σ_layers [S − B̄]₊        SNR = (max_layers S − B̄) / σ;  a cell with SNR < 3 is dark

The paper (arXiv 2511.07110) names the probe; the reading is ours. Everything is streamed over shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.book_features import REGIMES, TASKS
from models.training import whiten
from models.training.states import Shards
from models.training.train_config import ProbeConfig
from models.training.whiten import View, Whitener

type Array = NDArray[np.float64]

_BLOCKS = 40  # of the held-out span, drawn by the bootstrap
_LEAST = 100  # windows of a regime, in training and held out, below which nothing is said
_OUTSIDE = 0.5


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


def thirds(layers: int, groups: int) -> list[tuple[int, int]]:
    """Bounds (inclusive) of `groups` even runs over the layers after the embedding."""
    if layers - 1 < groups:
        return [(0, layers - 1)] * groups
    edges = np.linspace(1, layers, groups + 1).round().astype(int)
    return [(int(a), int(b) - 1) for a, b in pairwise(edges)]


def segment(profiles: Array, groups: int) -> list[tuple[int, int]]:
    """Bounds of the runs of layers within which the profiles (layers, cells) differ least (Fisher 1958).

    The embedding (layer 0) belongs to no group.
    """
    body = profiles[1:]
    n = len(body)
    if n < groups:
        return thirds(len(profiles), groups)

    def cost(i: int, j: int) -> float:
        run = body[i:j]
        return float(((run - run.mean(0)) ** 2).sum())

    best = np.full((groups + 1, n + 1), np.inf)
    cut = np.zeros((groups + 1, n + 1), int)
    best[0, 0] = 0.0
    for g in range(1, groups + 1):
        for j in range(g, n + 1):
            options = [best[g - 1, i] + cost(i, j) for i in range(g - 1, j)]
            cut[g, j] = int(np.argmin(options)) + g - 1
            best[g, j] = min(options)
    bounds, j = [], n
    for g in range(groups, 0, -1):
        i = int(cut[g, j])
        bounds.append((i + 1, j))
        j = i
    return bounds[::-1]


def analyse(
    responses: Responses, controls: dict[str, Responses], layers: Sequence[int], groups: int, config: ProbeConfig
) -> dict[str, Any]:
    """All numbers of the probe as plain values.

    Parameters
    ----------
    responses : Responses
        Of the teacher.
    controls : dict
        Of other bodies on other windows, and of the input alone: compared by their best layer.
    layers : sequence of int
        Which hidden states the views are.
    groups : int
    config : ProbeConfig

    """
    s, background, noise, profile, snr = _fluorescence(responses.correlation())
    body = int(len(layers) > 1 and layers[0] == 0)  # the embedding is what went in: it competes with nobody
    enough = responses.count.sum(0) >= _LEAST
    dark = (snr < config.dark) | ~enough[:, None]
    bright = np.moveaxis(profile, 1, 0)[:, ~dark]  # (layers, bright cells)
    by_probe = config.groups == "probe" and bright.size > 0
    bounds = segment(bright, groups) if by_probe else thirds(len(layers), groups)
    shares = _group_shares(profile, bounds)
    wins = np.zeros_like(shares)
    rng = np.random.default_rng(0)
    for _ in range(config.draws):
        picks = rng.integers(0, len(responses.count), len(responses.count))
        drawn = _group_shares(_fluorescence(responses.correlation(picks))[3], bounds)
        for r, t in np.ndindex(len(REGIMES), len(TASKS)):
            wins[r, drawn[r, :, t].argmax(), t] += 1.0 / config.draws
    cells = []
    for r, t in np.ndindex(len(REGIMES), len(TASKS)):
        winner = int(shares[r, :, t].argmax())
        cells.append(
            {
                "regime": REGIMES[r],
                "task": TASKS[t],
                "windows": int(responses.count[:, r].sum()),
                "response": s[r, :, t].tolist(),
                "profile": profile[r, :, t].tolist(),
                "background": float(background[r, t]),
                "noise": float(noise[r, t]),
                "snr": float(snr[r, t]),
                "dark": bool(dark[r, t]),
                "peak_layer": int(layers[body + int(s[r, body:, t].argmax())]),
                "best": float(s[r, body:, t].max()),
                "group_shares": shares[r, :, t].tolist(),
                "winning_group": winner,
                "winning_probability": float(wins[r, winner, t]),
                "controls": {name: _best(other, r, t, body) for name, other in sorted(controls.items())},
            }
        )
    return {
        "layers": list(layers),
        "groups": [[int(layers[a]), int(layers[b])] for a, b in bounds],
        "bounds": [[a, b] for a, b in bounds],
        "groups_from": "probe" if by_probe else "thirds",
        "dark_below": config.dark,
        "cells": cells,
    }


def _best(responses: Responses, regime: int, task: int, body: int) -> float:
    """Best layer of a control, without its embedding."""
    s = responses.correlation()[regime, :, 0, task]
    return float(s[body if len(s) > 1 else 0 :].max())


def _fluorescence(all_responses: Array) -> tuple[Array, Array, Array, Array, Array]:
    """S (regimes, layers, tasks), B̄, σ (regimes, tasks), profile as S, SNR (regimes, tasks)."""
    s, shifted = all_responses[:, :, 0], all_responses[:, :, 1:]
    background, noise = shifted.mean((1, 2)), shifted.std((1, 2)) + 1e-9
    excess = np.maximum(s - background[:, None], 0.0)
    profile = excess / (excess.sum(1, keepdims=True) + 1e-12)
    return s, background, noise, profile, (s.max(1) - background) / noise


def _group_shares(profile: Array, bounds: Sequence[tuple[int, int]]) -> Array:
    """Share of each group's mean layer: (regimes, groups, tasks)."""
    means = np.stack([profile[:, a : b + 1].mean(1) for a, b in bounds], 1)
    return means / (means.sum(1, keepdims=True) + 1e-12)  # type: ignore[no-any-return]


def probe_teacher(fitted: Shards, judged: Shards, config: ProbeConfig) -> tuple[Responses, Responses]:
    """Responses of all layers and of the input alone."""
    return respond(fitted, judged, whiten.layers, config), respond(fitted, judged, whiten.inputs, config)
