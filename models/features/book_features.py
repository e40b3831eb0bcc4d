"""Features of the order book and of trades, incremental, in units free of the instrument.

ONE implementation serves the dataset recorder, the backtest, paper and live. Prices are in ticks,
sizes in lots, times in ns of ARRIVAL: a feature at t uses what had arrived by t. Flows decay with
half-lives in seconds, so that feeds of 2 and of 200 updates a second give comparable numbers.

Sources: order-flow imbalance: Cont, Kukanov and Stoikov 2014; micro price: Gatheral and Oomen 2010.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from market.array_book import CAPACITY, ArrayBook, BookState
from market.compiled import plain
from models.features import kernels

VERSION = 1
TREND_HALF_LIFE = 2
"""Index of the half-life whose trend the quoters look at: 10 s by default."""

REGIMES = ("calm", "normal", "volatile")
TASKS = ("mid", "spread", "volume")

_INSTANT = (
    "log_spread",
    "spread_vs_mean",
    "imbalance_1",
    "imbalance_3",
    "imbalance_5",
    "micro_price",
    "depth_mid",
    "gap_bid",
    "gap_ask",
    "deep_levels",
    "log_bid_size",
    "log_ask_size",
    "last_trade",
    "trade_age",
    "mid_age",
    "update_gap",
)
_DECAYED = (
    "order_flow",
    "signed_share",
    "signed_volume",
    "volume_ratio",
    "return",
    "variance_ratio",
    "mean_imbalance",
    "spread_ratio",
)
CONTEXT = ("log_sigma", "log_spread_base", "log_volume_base")
"""Last three features: scales by which the targets were divided; the graph multiplies them back."""

_STATES = tuple(BookState)
# the kernels' own rules, uncompiled: handing their arrays over costs more than a look at one of them
_bid, _ask, _trend, _regime = plain(kernels.bid), plain(kernels.ask), plain(kernels.trend), plain(kernels.regime)


class FeatureSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the features are; its hash ties datasets and artifacts to the code that made them.

    Parameters
    ----------
    half_lives_s : tuple[float, …]
        Half-lives of the decayed features, rising, seconds.
    horizon_s : float
        Forecast horizon H, seconds.
    levels : int
        Levels a side that are looked at, where the feed shows them.
    max_gap_s : float
        A longer silence is a break: nothing is computed across it.
    warm_up_s : float
        Time after a start or break before the features count.
    regime_s : float
        Half-life of the rolling distribution of variance that regimes are terciles of.

    """

    half_lives_s: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=3)] = (
        1.0,
        3.0,
        10.0,
        30.0,
        120.0,
    )
    horizon_s: Annotated[float, Meta(gt=0)] = 5.0
    levels: Annotated[int, Meta(ge=1, le=5)] = 5
    max_gap_s: Annotated[float, Meta(gt=0)] = 5.0
    warm_up_s: Annotated[float, Meta(ge=0)] = 30.0
    regime_s: Annotated[float, Meta(gt=0)] = 1800.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features in order, (features,)."""
        decayed = [f"{name}_{h:g}s" for name in _DECAYED for h in self.half_lives_s]
        return (*_INSTANT, *decayed, *CONTEXT)

    @property
    def hash(self) -> str:
        """Identity of spec and code version, 16 hex digits."""
        text = msgspec.json.encode([VERSION, self, self.names])
        return hashlib.sha256(text).hexdigest()[:16]


def sigma_ticks(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of the mid price over the horizon, ticks (…,), of feature vectors (…, features).

    The same bits for a vector alone and among many: numpy's exponential takes each element by itself.
    """
    return np.exp(vectors[..., -3]).astype(np.float64)


class BookFeatures:
    """Turns book and trade events into the feature vector.

    Parameters
    ----------
    spec : FeatureSpec
        What to compute.
    depth : int
        Levels a side that the feed shows, 0 for the whole book. Levels beyond are masked even if
        the book remembers them.

    """

    def __init__(self, spec: FeatureSpec, depth: int = 0) -> None:
        self.spec = spec
        self.vector: NDArray[np.float32] = np.zeros(len(spec.names), np.float32)
        self.book = ArrayBook(CAPACITY)
        self.moments = kernels.FeatureState.begin(self.book, len(spec.half_lives_s))
        self.scales = kernels.Scales(
            np.asarray(spec.half_lives_s, np.float64),
            float(spec.max_gap_s),
            float(spec.horizon_s),
            min(spec.levels, depth) if depth else spec.levels,
            float(spec.regime_s),
            spec.warm_up_s * 1e9,
        )
        self.state = BookState.EMPTY
        """What the book was after the last update."""

    def on_book(self, ts_ns: int, changes: NDArray[np.int64], count: int, clear: bool = False) -> bool:
        """Take one atomic book update and refresh `vector`.

        Parameters
        ----------
        ts_ns : int
            Arrival time.
        changes : ndarray (≥ count, 3) int64
            Rows (side, price in ticks, size in lots).
        count : int
            Rows that hold.
        clear : bool
            Empty the book first.

        Returns
        -------
        bool
            Whether `vector` counts: two sides, not crossed, warmed up.

        """
        book, counts = kernels.take_book(ts_ns, changes, count, clear, self.moments, self.scales, self.vector)
        self.state = _STATES[book]
        return bool(counts)

    def on_trade(self, ts_ns: int, ticks: int, lots: int, aggressor: int) -> None:
        """Take one trade; `aggressor` is 1 for a buyer, 2 for a seller, 0 for unknown."""
        kernels.take_trade(ts_ns, ticks, lots, aggressor, self.moments, self.scales)

    @property
    def is_sound(self) -> bool:
        """Whether the book had two sides and was not crossed after the last update."""
        return not self.state

    @property
    def bid_ticks(self) -> int:
        """Best bid of the last sound book, which need not be the book of now: see `state`."""
        return int(_bid(self.moments))

    @property
    def ask_ticks(self) -> int:
        """Best ask of the last sound book."""
        return int(_ask(self.moments))

    def trend_ticks(self, half_life: int) -> float:
        """Mid price minus its decayed mean of the half-life at that index, ticks."""
        return float(_trend(self.moments, half_life))

    @property
    def regime(self) -> int:
        """0 calm, 1 normal, 2 volatile: terciles of the rolling distribution of variance."""
        return int(_regime(self.moments))

    @property
    def sigma_ticks(self) -> float:
        """Standard deviation of the mid price over the horizon, ticks."""
        return float(np.exp(self.vector[-3]))  # `sigma_ticks` of one vector
