"""The features' kernels: one update or trade after another, over plain arrays that are moved in place.

What they compute is said in `models.features.book_features`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook, BookState, apply_levels, state_of
from market.compiled import compiled
from market.events import BUY, SELL

_LN2 = float(np.log(2.0))
_SIGMA_FLOOR = 0.25  # ticks over the horizon: a market that stood still still has a scale
_SOUND = int(BookState.SOUND)
_TERCILE = 0.4307  # a normal variable lies within ±0.4307 sigma with probability 1/3

# scalars of the state, by place in one float64 array
(
    _TS, _START, _BID, _ASK, _BID_SIZE, _ASK_SIZE, _MID, _TRADE_PRICE, _TRADE_TS, _MID_TS,
    _TYPICAL_SIZE, _LOG_VAR_MEAN, _LOG_VAR_SQUARE, _LOG_VAR_WEIGHT, _REGIME, _SEEN, _REGIME_TS,
) = range(17)  # fmt: skip
_SCALARS = 17
# decayed quantities, rows of a (rows, half-lives) array
_OFI, _SIGNED, _VOLUME, _SQUARES, _MEAN_MID, _MEAN_IMBALANCE, _MEAN_SPREAD = range(7)
_ROWS = 7


@compiled
def _decay(ts, scalars, decayed, half_lives, max_gap):  # type: ignore[no-untyped-def]
    """Age all decayed quantities to `ts`; return whether a break lies before it."""
    last = scalars[_TS]
    scalars[_TS] = ts
    if last == 0.0:
        return True
    dt = (ts - last) * 1e-9
    is_break = dt > max_gap
    dt = min(max(dt, 0.0), max_gap)
    for k in range(half_lives.shape[0]):
        keep = np.exp(-_LN2 * dt / half_lives[k])
        for row in range(_OFI, _SQUARES + 1):
            decayed[row, k] *= keep
        if scalars[_MID] > 0.0 and not is_break:  # the value that stood held until now
            mid, width = scalars[_MID], scalars[_ASK] - scalars[_BID]
            total = scalars[_BID_SIZE] + scalars[_ASK_SIZE]
            imbalance = (scalars[_BID_SIZE] - scalars[_ASK_SIZE]) / total
            decayed[_MEAN_MID, k] += (1.0 - keep) * (mid - decayed[_MEAN_MID, k])
            decayed[_MEAN_IMBALANCE, k] += (1.0 - keep) * (imbalance - decayed[_MEAN_IMBALANCE, k])
            decayed[_MEAN_SPREAD, k] += (1.0 - keep) * (width - decayed[_MEAN_SPREAD, k])
            if k == half_lives.shape[0] - 1:
                scalars[_TYPICAL_SIZE] += (1.0 - keep) * (0.5 * total - scalars[_TYPICAL_SIZE])
    return is_break


@compiled
def _on_trade(ts, ticks, lots, sign, scalars, decayed, half_lives, max_gap):  # type: ignore[no-untyped-def]
    _decay(ts, scalars, decayed, half_lives, max_gap)
    for k in range(half_lives.shape[0]):
        decayed[_SIGNED, k] += sign * lots
        decayed[_VOLUME, k] += lots
    scalars[_TRADE_PRICE] = ticks
    scalars[_TRADE_TS] = ts


@compiled
def _on_book(ts, price, size, count, changes, n, clear, scalars, decayed, half_lives, max_gap):  # type: ignore[no-untyped-def]
    """Apply level changes and, where the book is sound, move the state to the new touch; return its `BookState`."""
    is_break = _decay(ts, scalars, decayed, half_lives, max_gap)
    scalars[_START] = min(scalars[_START], ts)  # a clock that was set back must not begin the warm-up far ahead
    if clear:
        count[0] = 0
        count[1] = 0
    apply_levels(price, size, count, changes, n)
    state = state_of(price, count)
    if state != _SOUND:
        scalars[_MID] = 0.0
        return state
    bid, ask = float(price[0, count[0] - 1]), float(price[1, count[1] - 1])
    bid_size, ask_size = float(size[0, count[0] - 1]), float(size[1, count[1] - 1])
    mid = 0.5 * (bid + ask)
    if is_break or scalars[_MID] == 0.0:
        scalars[_START] = ts if is_break or scalars[_SEEN] == 0.0 else scalars[_START]
        scalars[_MID_TS] = ts
        for k in range(half_lives.shape[0]):
            decayed[_MEAN_MID, k] = mid
            if scalars[_SEEN] == 0.0:
                decayed[_MEAN_IMBALANCE, k] = (bid_size - ask_size) / (bid_size + ask_size)
                decayed[_MEAN_SPREAD, k] = ask - bid
        if scalars[_SEEN] == 0.0:
            scalars[_TYPICAL_SIZE] = 0.5 * (bid_size + ask_size)
        scalars[_SEEN] = 1.0
    else:
        flow = 0.0
        if bid >= scalars[_BID]:
            flow += bid_size
        if bid <= scalars[_BID]:
            flow -= scalars[_BID_SIZE]
        if ask <= scalars[_ASK]:
            flow -= ask_size
        if ask >= scalars[_ASK]:
            flow += scalars[_ASK_SIZE]
        move = mid - scalars[_MID]
        for k in range(half_lives.shape[0]):
            decayed[_OFI, k] += flow
            decayed[_SQUARES, k] += move * move
        if move != 0.0:
            scalars[_MID_TS] = ts
    scalars[_BID], scalars[_ASK], scalars[_MID] = bid, ask, mid
    scalars[_BID_SIZE], scalars[_ASK_SIZE] = bid_size, ask_size
    return state


@compiled
def _sum_levels(price, size, count, row, levels):  # type: ignore[no-untyped-def]
    total, weighted = 0.0, 0.0
    for i in range(count[row] - 1, max(count[row] - 1 - levels, -1), -1):
        total += size[row, i]
        weighted += size[row, i] * price[row, i]
    return total, weighted


@compiled
def _regime(ts, log_var, regime_s, scalars):  # type: ignore[no-untyped-def]
    """Tercile of the variance in its rolling (normal) distribution; strictly causal.

    The decayed moments are divided by their decayed weight, so that the first minutes count in
    full instead of being pulled towards an arbitrary start.
    """
    dt = 1.0 if scalars[_REGIME_TS] == 0.0 else min(max((ts - scalars[_REGIME_TS]) * 1e-9, 0.0), 5.0)
    scalars[_REGIME_TS] = ts
    keep = np.exp(-_LN2 * dt / regime_s)
    scalars[_LOG_VAR_WEIGHT] += (1.0 - keep) * (1.0 - scalars[_LOG_VAR_WEIGHT])
    scalars[_LOG_VAR_MEAN] += (1.0 - keep) * (log_var - scalars[_LOG_VAR_MEAN])
    scalars[_LOG_VAR_SQUARE] += (1.0 - keep) * (log_var * log_var - scalars[_LOG_VAR_SQUARE])
    mean = scalars[_LOG_VAR_MEAN] / scalars[_LOG_VAR_WEIGHT]
    variance = scalars[_LOG_VAR_SQUARE] / scalars[_LOG_VAR_WEIGHT] - mean * mean
    z = (log_var - mean) / np.sqrt(max(variance, 1e-2))
    scalars[_REGIME] = 0.0 if z < -_TERCILE else (2.0 if z > _TERCILE else 1.0)


@compiled
def _fill(out, previous_ts, price, size, count, scalars, decayed, half_lives, horizon, levels, regime_s, warm):  # type: ignore[no-untyped-def]
    """Write the feature vector into `out (features,) float32`."""
    ts, n_half = scalars[_TS], half_lives.shape[0]
    slow = n_half - 1
    bid, ask, mid = scalars[_BID], scalars[_ASK], scalars[_MID]
    width = ask - bid
    typical = max(scalars[_TYPICAL_SIZE], 1.0)
    rate = _LN2 / half_lives[slow]
    variance = decayed[_SQUARES, slow] * rate
    sigma = max(np.sqrt(variance * horizon), _SIGMA_FLOOR)
    mean_spread = max(decayed[_MEAN_SPREAD, max(slow - 1, 0)], 0.5)
    volume_base = np.log1p(decayed[_VOLUME, slow] * rate * horizon)
    if warm:
        medium = max(slow - 1, 0)
        _regime(ts, np.log(decayed[_SQUARES, medium] * _LN2 / half_lives[medium] + 1e-3), regime_s, scalars)

    bids_1, asks_1 = scalars[_BID_SIZE], scalars[_ASK_SIZE]
    bids_3, _ = _sum_levels(price, size, count, 0, min(3, levels))
    asks_3, _ = _sum_levels(price, size, count, 1, min(3, levels))
    bids_5, bids_5w = _sum_levels(price, size, count, 0, levels)
    asks_5, asks_5w = _sum_levels(price, size, count, 1, levels)
    deep = min(levels, count[0], count[1])
    imbalance = (bids_1 - asks_1) / (bids_1 + asks_1)
    out[0] = np.log(width)
    out[1] = np.log(width / mean_spread)
    out[2] = imbalance
    out[3] = (bids_3 - asks_3) / (bids_3 + asks_3)
    out[4] = (bids_5 - asks_5) / (bids_5 + asks_5)
    out[5] = imbalance * width * 0.5 / sigma
    out[6] = (0.5 * (bids_5w / bids_5 + asks_5w / asks_5) - mid) / sigma
    out[7] = np.log(bid - price[0, count[0] - 2]) if deep > 1 else 0.0
    out[8] = np.log(price[1, count[1] - 2] - ask) if deep > 1 else 0.0
    out[9] = (deep - 1.0) / 4.0  # mask: 0 where the feed shows the touch alone
    out[10] = np.log((bids_1 + 1.0) / typical)
    out[11] = np.log((asks_1 + 1.0) / typical)
    out[12] = min(max((scalars[_TRADE_PRICE] - mid) / sigma, -4.0), 4.0) if scalars[_TRADE_TS] > 0.0 else 0.0
    out[13] = np.log1p(min(max((ts - scalars[_TRADE_TS]) * 1e-9, 0.0), 60.0)) if scalars[_TRADE_TS] > 0.0 else 4.1
    out[14] = np.log1p(min(max((ts - scalars[_MID_TS]) * 1e-9, 0.0), 60.0))
    out[15] = np.log1p(min(max((ts - previous_ts) * 1e-9, 0.0), 5.0))

    at = 16
    for k in range(n_half):
        half = half_lives[k]
        volume = decayed[_VOLUME, k]
        out[at + k] = np.arcsinh(decayed[_OFI, k] / typical)
        out[at + n_half + k] = decayed[_SIGNED, k] / (volume + 0.1 * typical)
        out[at + 2 * n_half + k] = np.arcsinh(decayed[_SIGNED, k] / typical)
        out[at + 3 * n_half + k] = np.log1p(volume * _LN2 / half * horizon) - volume_base
        spread_of_return = max(np.sqrt(variance * half), _SIGMA_FLOOR)
        out[at + 4 * n_half + k] = min(max((mid - decayed[_MEAN_MID, k]) / spread_of_return, -8.0), 8.0)
        out[at + 5 * n_half + k] = np.log((decayed[_SQUARES, k] * _LN2 / half + 1e-3) / (variance + 1e-3))
        out[at + 6 * n_half + k] = decayed[_MEAN_IMBALANCE, k]
        out[at + 7 * n_half + k] = np.log(max(decayed[_MEAN_SPREAD, k], 0.5) / mean_spread)
    at += 8 * n_half
    out[at] = np.log(sigma)
    out[at + 1] = np.log(mean_spread)
    out[at + 2] = volume_base


class Scales(NamedTuple):
    """What a spec says, as the kernels want it; times in seconds, `warm_up_ns` apart."""

    half_lives: NDArray[np.float64]
    max_gap: float
    horizon: float
    levels: int
    regime: float
    warm_up_ns: float


class FeatureState(NamedTuple):
    """Book and moments, moved in place by the kernels."""

    price: NDArray[np.int64]
    size: NDArray[np.int64]
    levels: NDArray[np.int64]
    scalars: NDArray[np.float64]
    decayed: NDArray[np.float64]

    @classmethod
    def begin(cls, book: ArrayBook, half_lives: int) -> FeatureState:
        """Before the first event, around an empty book."""
        return cls(book.price, book.size, book.count, np.zeros(_SCALARS), np.zeros((_ROWS, half_lives)))


@compiled
def take_book(ts_ns, changes, n, clear, state, scales, vector):  # type: ignore[no-untyped-def]
    """Take one atomic update; return the book's state and whether `vector (features,)` counts.

    An unsound book leaves the vector as it was.
    """
    s, ts = state.scalars, np.float64(ts_ns)
    previous = s[_TS] if s[_TS] != 0.0 else ts
    book = _on_book(
        ts,
        state.price,
        state.size,
        state.levels,
        changes,
        n,
        clear,
        s,
        state.decayed,
        scales.half_lives,
        scales.max_gap,
    )
    if book != _SOUND:
        return book, False
    warm = ts_ns - s[_START] >= scales.warm_up_ns
    _fill(
        vector, previous, state.price, state.size, state.levels, s, state.decayed, scales.half_lives, scales.horizon,
        scales.levels, scales.regime, warm,
    )  # fmt: skip
    return book, warm


@compiled
def take_trade(ts_ns, ticks, lots, aggressor, state, scales):  # type: ignore[no-untyped-def]
    """Take one trade of this aggressor (`market.events`)."""
    sign = 1.0 if aggressor == BUY else -1.0 if aggressor == SELL else 0.0
    _on_trade(
        np.float64(ts_ns), np.float64(ticks), np.float64(lots), sign, state.scalars, state.decayed, scales.half_lives,
        scales.max_gap,
    )  # fmt: skip


@compiled
def trend(state, half_life):  # type: ignore[no-untyped-def]
    """Mid price minus its decayed mean of the half-life at that index, ticks."""
    return state.scalars[_MID] - state.decayed[_MEAN_MID, half_life]


@compiled
def regime(state):  # type: ignore[no-untyped-def]
    """Tercile of the variance: 0 calm, 1 normal, 2 volatile."""
    return int(state.scalars[_REGIME])


@compiled
def bid(state):  # type: ignore[no-untyped-def]
    """Best bid of the last sound book, ticks."""
    return int(state.scalars[_BID])


@compiled
def ask(state):  # type: ignore[no-untyped-def]
    """Best ask of the last sound book, ticks."""
    return int(state.scalars[_ASK])
