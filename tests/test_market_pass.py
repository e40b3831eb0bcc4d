"""The pass over columns says, update by update and to the bit, what `BookFeatures` says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backtest.dataset_recorder import record_day
from engine.config import Config
from engine.config.data import RecordConfig
from market.columns import TRADE, Columns
from market.events import ASK, BID
from models.features.book_features import TREND_HALF_LIFE, BookFeatures, FeatureSpec, sigma_ticks
from models.features.market_pass import Block, MarketPass
from tests import reference_recorder
from tests.columns_of import Happened, columns_of, columns_of_day
from venues.recordings.catalog import Catalog, Day

SPEC = FeatureSpec(warm_up_s=2.0, max_gap_s=3.0)
T0 = 1_600_000_000 * 10**9

level = st.tuples(st.sampled_from([BID, ASK]), st.integers(97, 103), st.integers(0, 5))
wide = st.lists(
    st.one_of(
        st.tuples(st.just(BID), st.integers(90, 99), st.integers(1, 9)),
        st.tuples(st.just(ASK), st.integers(100, 110), st.integers(1, 9)),
    ),
    min_size=2,
    max_size=8,
)
step = st.sampled_from([1, 10**6, 10**8, 3 * 10**8, 10**9, 4 * 10**9])
change = st.one_of(
    st.tuples(step, st.lists(level, max_size=4), st.booleans()),
    st.tuples(step, wide, st.just(True)),
    st.tuples(step, wide, st.just(False)),
    st.tuples(step, st.integers(90, 110), st.integers(1, 9), st.integers(0, 2)),
)


def stamped(steps: list[tuple]) -> list[Happened]:
    """Events with times for steps of time."""
    ts, happened = T0, []
    for what in steps:
        ts += what[0]
        happened.append((ts, *what[1:]))
    return happened  # type: ignore[return-value]


def one_by_one(columns: Columns, spec: FeatureSpec, depth: int) -> dict[str, np.ndarray]:
    f, seen = BookFeatures(spec, depth), []
    for e in range(len(columns.kind)):
        rows = slice(columns.first[e], columns.first[e + 1])
        ts, sides, prices, sizes = int(columns.ts[e]), columns.side[rows], columns.price[rows], columns.size[rows]
        if columns.kind[e] == TRADE:
            f.on_trade(ts, int(prices[0]), int(sizes[0]), int(sides[0]))
            continue
        changes = np.stack([sides, prices, sizes], 1).astype(np.int64).reshape(-1, 3)
        ready = f.on_book(ts, changes, len(changes), bool(columns.clear[e]))
        seen.append((
            e, f.vector.copy(), ready, f.is_sound, f.bid_ticks, f.ask_ticks, f.trend_ticks(TREND_HALF_LIFE), f.regime, f.sigma_ticks,
        ))  # fmt: skip
    names = (*Block._fields, "sigma")
    return {name: np.array(values) for name, values in zip(names, zip(*seen, strict=True), strict=True)}


def in_blocks(parts: list[Columns], spec: FeatureSpec, depth: int, block: int) -> dict[str, np.ndarray]:
    found, passed, before = [], MarketPass(spec, depth, block), 0
    for columns in parts:
        found += [
            [*(array.copy() for array in b._replace(event=b.event + before)), sigma_ticks(b.vector)]
            for b in passed.blocks(columns)
        ]
        before += len(columns.kind)
    names = (*Block._fields, "sigma")
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*found, strict=True), strict=True)}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name, expected in one.items():
        found = other[name].astype(expected.dtype)
        assert found.tobytes() == expected.tobytes(), name


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(change, min_size=1, max_size=60), depth=st.sampled_from([0, 1, 5]), block=st.integers(1, 50),
    cut=st.integers(0, 60),
)  # fmt: skip
def test_any_market_gives_the_same_bits_in_blocks(steps: list[tuple], depth: int, block: int, cut: int) -> None:
    happened = [(T0, [(BID, 99, 5), (ASK, 101, 5)], True), *stamped(steps)]
    whole = one_by_one(columns_of(happened, depth), SPEC, depth)
    parts = [columns_of(part, depth) for part in (happened[:cut], happened[cut:])]
    assert_same(whole, in_blocks(parts, SPEC, depth, block))


def test_a_simulated_day_gives_the_same_bits(brief: tuple[Catalog, Day]) -> None:
    columns = columns_of_day(*brief)
    whole = one_by_one(columns, FeatureSpec(), 0)
    assert whole["ready"].any()
    assert_same(whole, in_blocks([columns], FeatureSpec(), 0, 1000))


@pytest.mark.parametrize("interval_ms", [0.0, 100.0])
def test_a_dataset_has_the_bytes_that_nautilus_would_give_it(
    brief: tuple[Catalog, Day], tmp_path: Path, interval_ms: float
) -> None:
    config = msgspec.structs.replace(Config(), record=RecordConfig(interval_ms))
    path, counts = record_day(*brief, config)
    assert counts["rows"] > 500
    assert reference_recorder.record(*brief, config, tmp_path / "reference.parquet") == counts
    assert path.read_bytes() == (tmp_path / "reference.parquet").read_bytes()


def test_sigma_of_many_is_sigma_of_each() -> None:
    vectors = np.zeros((5000, 5), np.float32)
    vectors[:, -3] = np.random.default_rng(1).uniform(-3, 12, 5000)
    f, each = BookFeatures(SPEC), np.zeros(5000)
    for i, f.vector in enumerate(vectors):
        each[i] = f.sigma_ticks
    for start in (0, 1, 7):
        assert sigma_ticks(vectors[start:]).tobytes() == each[start:].tobytes()
