"""How often trades reach a distance from mid: A exp(-k δ), fitted on recorded days."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.features.outcomes import REACH_S

_LEAST_HITS = 20


def fit_intensity(reach_ticks: NDArray[np.float32]) -> tuple[float, float]:
    """Fit A (1/s) and k (1/tick) to how far trades reached within `REACH_S` of each sample.

    Parameters
    ----------
    reach_ticks : ndarray (samples,)
        Largest distance from mid at which a trade printed on one side; negative for none.

    Raises
    ------
    ValueError
        Trades reached too few distances to fit a line.

    Notes
    -----
    With Poisson arrivals P(reach ≥ δ) = 1 − exp(−λ(δ) Δ); λ is read off the empirical share and
    ln λ regressed on δ (Guéant, Lehalle and Fernandez-Tapia 2013, section 4.3).

    """
    distances, rates = [], []
    for delta in np.arange(0.5, 40.5, 0.5):
        hits = int((reach_ticks >= delta).sum())
        if hits < _LEAST_HITS or hits == len(reach_ticks):
            continue
        distances.append(delta)
        rates.append(-np.log1p(-hits / len(reach_ticks)) / REACH_S)
    if len(distances) < 2:
        raise ValueError("trades reached too few distances from mid to fit an arrival intensity")
    slope, level = np.polyfit(distances, np.log(rates), 1, w=np.sqrt(rates))
    return float(np.exp(level)), float(max(-slope, 1e-3))
