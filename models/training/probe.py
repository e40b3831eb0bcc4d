"""Normalized fluorescent probe (NFP): which layer knows what, for which task, in which regime.

On RMS-normalised, whitened states of the last token one ridge probe a layer ℓ, task τ and regime r,
fitted on the training span; S = correlation of its forecast with the outcome on the validation span.
Background B̄ and noise σ: the same with circularly shifted training targets, over shifts and layers.

    NFP = [S − B̄]₊ / Σ_layers [S − B̄]₊        SNR = (max_layers S − B̄) / σ;  a cell with SNR < 3 is dark

The paper (arXiv 2511.07110) names the probe; the reading is ours. Everything is streamed over shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.features.book_features import REGIMES, TASKS
from models.training.layer_groups import Bounds, segment, thirds
from models.training.responses import Responses
from models.training.train_config import ProbeConfig

type Array = NDArray[np.float64]

_LEAST = 100  # windows of a regime, in training and held out, below which nothing is said


class ProbeCell(msgspec.Struct, frozen=True):
    """What is known of one task in one regime.

    Attributes
    ----------
    regime, task : str
    windows : int
        Held out.
    response, profile : list[float]
        S and NFP of each kept layer.
    background, noise, snr : float
        B̄, σ and SNR.
    dark : bool
        No claim is made.
    peak_layer, best : int, float
        The layer of the largest response, and that response, without the embedding.
    group_shares : list[float]
        Of each layer group's mean layer in the profile.
    winning_group, winning_probability : int, float
        The group of the largest share, and the share of bootstrap draws in which it wins.
    controls : dict[str, float]
        Best response of the input alone, and of the model as loaded and with random weights.

    """

    regime: str
    task: str
    windows: int
    response: list[float]
    profile: list[float]
    background: float
    noise: float
    snr: float
    dark: bool
    peak_layer: int
    best: float
    group_shares: list[float]
    winning_group: int
    winning_probability: float
    controls: dict[str, float]


class Probe(msgspec.Struct, frozen=True):
    """All numbers of the probe; `probe.json` of an artifact.

    Attributes
    ----------
    layers : list[int]
        Which hidden states were kept, 0 is the embedding.
    groups, bounds : list[tuple[int, int]]
        First and last layer of each group: by their number, and by their place in `layers`.
    groups_from : str
    dark_below : float
        SNR.
    cells : list[ProbeCell]

    """

    layers: list[int]
    groups: list[tuple[int, int]]
    bounds: Bounds
    groups_from: Literal["probe", "thirds"]
    dark_below: float
    cells: list[ProbeCell]


def analyse(
    responses: Responses, controls: dict[str, Responses], layers: Sequence[int], groups: int, config: ProbeConfig
) -> Probe:
    """All numbers of the probe.

    Parameters
    ----------
    responses : Responses
        Of the teacher.
    controls : dict
        Of other backbones on other windows, and of the input alone: compared by their best layer.
    layers : sequence of int
        Which hidden states the views are.
    groups : int
    config : ProbeConfig

    """
    f = _fluorescence(responses.correlation())
    first = int(len(layers) > 1 and layers[0] == 0)  # the embedding is what went in: it competes with nobody
    enough = responses.count.sum(0) >= _LEAST
    dark = (f.snr < config.dark) | ~enough[:, None]
    bright = np.moveaxis(f.profile, 1, 0)[:, ~dark]  # (layers, bright cells)
    by_probe = config.groups == "probe" and bright.size > 0
    bounds = segment(bright, groups) if by_probe else thirds(len(layers), groups)
    shares = _group_shares(f.profile, bounds)
    wins = _wins(responses, bounds, config.draws)
    cells = []
    for r, t in np.ndindex(len(REGIMES), len(TASKS)):
        winner = int(shares[r, :, t].argmax())
        cells.append(
            ProbeCell(
                regime=REGIMES[r],
                task=TASKS[t],
                windows=int(responses.count[:, r].sum()),
                response=f.response[r, :, t].tolist(),
                profile=f.profile[r, :, t].tolist(),
                background=float(f.background[r, t]),
                noise=float(f.noise[r, t]),
                snr=float(f.snr[r, t]),
                dark=bool(dark[r, t]),
                peak_layer=int(layers[first + int(f.response[r, first:, t].argmax())]),
                best=float(f.response[r, first:, t].max()),
                group_shares=shares[r, :, t].tolist(),
                winning_group=winner,
                winning_probability=float(wins[r, winner, t]),
                controls={name: _best(other, r, t, first) for name, other in sorted(controls.items())},
            )
        )
    numbers = [(int(layers[a]), int(layers[b])) for a, b in bounds]
    return Probe(list(layers), numbers, bounds, "probe" if by_probe else "thirds", config.dark, cells)


def _wins(responses: Responses, bounds: Bounds, draws: int) -> Array:
    """Share of bootstrap draws (regimes, groups, tasks) in which a group wins."""
    wins = np.zeros((len(REGIMES), len(bounds), len(TASKS)))
    rng = np.random.default_rng(0)
    for _ in range(draws):
        picks = rng.integers(0, len(responses.count), len(responses.count))
        drawn = _group_shares(_fluorescence(responses.correlation(picks)).profile, bounds)
        for r, t in np.ndindex(len(REGIMES), len(TASKS)):
            wins[r, drawn[r, :, t].argmax(), t] += 1.0 / draws
    return wins


def _best(responses: Responses, regime: int, task: int, first: int) -> float:
    """Best layer of a control, without its embedding."""
    s = responses.correlation()[regime, :, 0, task]
    return float(s[first if len(s) > 1 else 0 :].max())


class _Fluorescence(NamedTuple):
    response: Array  # S (regimes, layers, tasks)
    background: Array  # B̄ (regimes, tasks)
    noise: Array  # σ (regimes, tasks)
    profile: Array  # NFP (regimes, layers, tasks)
    snr: Array  # (regimes, tasks)


def _fluorescence(all_responses: Array) -> _Fluorescence:
    """From responses (regimes, layers, 1 + shifts, tasks)."""
    s, shifted = all_responses[:, :, 0], all_responses[:, :, 1:]
    background, noise = shifted.mean((1, 2)), shifted.std((1, 2)) + 1e-9
    excess = np.maximum(s - background[:, None], 0.0)
    profile = excess / (excess.sum(1, keepdims=True) + 1e-12)
    return _Fluorescence(s, background, noise, profile, (s.max(1) - background) / noise)


def _group_shares(profile: Array, bounds: Bounds) -> Array:
    """Share of each group's mean layer: (regimes, groups, tasks)."""
    means = np.stack([profile[:, a : b + 1].mean(1) for a, b in bounds], 1)
    return means / (means.sum(1, keepdims=True) + 1e-12)
