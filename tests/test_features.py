"""Features and targets: known answers, causality, equal results by snapshots and by diffs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.array_book import BookState
from market.events import ASK, BID, BookUpdate, Trade
from market.level_book import LevelBook
from models.features.book_features import BookFeatures, FeatureSpec
from models.features.targets import Row, Targets
from venues.recordings.simulator import simulate

S = 10**9
T0 = 1_600_000_000 * S
SPEC = FeatureSpec(warm_up_s=0.0)
NAMES = {name: i for i, name in enumerate(SPEC.names)}


def rows(*levels: tuple[int, int, int]) -> np.ndarray:
    return np.array(levels, np.int64)


def put(features: BookFeatures, ts: int, *levels: tuple[int, int, int], clear: bool = False) -> bool:
    return features.on_book(ts, rows(*levels), len(levels), clear)


def value(features: BookFeatures, name: str) -> float:
    return float(features.vector[NAMES[name]])


def test_touch_features_of_a_hand_made_book() -> None:
    f = BookFeatures(SPEC)
    assert put(f, T0, (BID, 100, 30), (BID, 98, 10), (ASK, 102, 10), (ASK, 103, 10))
    assert (f.bid_ticks, f.ask_ticks) == (100, 102)
    assert value(f, "log_spread") == pytest.approx(np.log(2))
    assert value(f, "imbalance_1") == pytest.approx(0.5)
    assert value(f, "imbalance_3") == pytest.approx((40 - 20) / 60)
    assert value(f, "gap_bid") == pytest.approx(np.log(2))
    assert value(f, "gap_ask") == pytest.approx(0.0)


def test_order_flow_follows_cont_kukanov_stoikov() -> None:
    f = BookFeatures(SPEC)
    put(f, T0, (BID, 100, 20), (ASK, 101, 20))
    put(f, T0 + 1, (BID, 100, 27))  # +7 at the bid
    put(f, T0 + 2, (ASK, 101, 0), (ASK, 102, 5))  # ask lifted: + the size that stood there
    assert value(f, "order_flow_120s") == pytest.approx(np.arcsinh((7 + 20) / 20), rel=1e-3)


def test_flows_halve_in_a_half_life() -> None:
    f = BookFeatures(SPEC)
    put(f, T0, (BID, 100, 10), (ASK, 101, 10))
    f.on_trade(T0, 101, 8, 1)
    put(f, T0 + 3 * S, (BID, 100, 10))
    assert np.sinh(value(f, "signed_volume_3s")) * 10 == pytest.approx(4.0, rel=1e-3)
    assert value(f, "signed_share_3s") == pytest.approx(4 / (4 + 1), rel=1e-3)


def test_levels_that_the_feed_does_not_show_are_masked() -> None:
    shown = [(BID, 100, 30), (ASK, 102, 10)]
    deep = [(BID, 99, 500), (ASK, 103, 2)]
    one, many = BookFeatures(SPEC, depth=1), BookFeatures(SPEC, depth=1)
    put(one, T0, *shown)
    put(many, T0, *shown, *deep)  # remembered levels are in the book, not in the view
    np.testing.assert_array_equal(one.vector, many.vector)
    assert value(one, "deep_levels") == 0.0
    full = BookFeatures(SPEC)
    put(full, T0, *shown, *deep)
    assert value(full, "deep_levels") > 0.0


@pytest.mark.parametrize("levels", [[(BID, 100, 5)], [(BID, 100, 5), (ASK, 100, 5)], [(BID, 101, 5), (ASK, 100, 5)]])
def test_one_sided_locked_and_crossed_books_do_not_count(levels: list[tuple[int, int, int]]) -> None:
    f = BookFeatures(SPEC)
    assert not put(f, T0, *levels)
    assert not f.is_sound


def test_nothing_is_computed_across_a_break() -> None:
    f = BookFeatures(FeatureSpec(warm_up_s=10.0))
    put(f, T0, (BID, 100, 10), (ASK, 101, 10))
    assert put(f, T0 + 4 * S, (BID, 100, 11)) is False  # warming up
    for i in range(3, 8):
        ready = put(f, T0 + 4 * i * S, (BID, 100, 10 + i % 2))
    assert ready
    flow = value(f, "order_flow_120s")
    assert not put(f, T0 + 4000 * S, (BID, 200, 10), (ASK, 201, 10), clear=True)  # a break warms up again
    assert abs(value(f, "order_flow_120s")) <= abs(flow)  # the jump is no flow
    assert value(f, "return_120s") == 0.0


def test_a_clock_that_is_set_back_harms_nothing_for_as_long() -> None:
    f = BookFeatures(FeatureSpec(warm_up_s=10.0))
    for i in range(60):
        put(f, T0 + i * S, (BID, 100, 10 + i % 2), (ASK, 102, 10))
    f.on_trade(T0 + 60 * S, 102, 3, 1)
    back = T0 - 3600 * S
    for i in range(12):
        ready = put(f, back + i * S, (BID, 100, 10 + i % 2))
        assert np.isfinite(f.vector).all()
    assert ready
    assert f.regime == 1


@pytest.mark.parametrize(
    ("levels", "state"),
    [
        ([], BookState.EMPTY),
        ([(BID, 100, 5)], BookState.ONE_SIDED),
        ([(ASK, 100, 5)], BookState.ONE_SIDED),
        ([(BID, 100, 5), (ASK, 100, 5)], BookState.CROSSED),
        ([(BID, 101, 5), (ASK, 100, 5)], BookState.CROSSED),
        ([(BID, 99, 5), (ASK, 100, 5)], BookState.SOUND),
    ],
)
def test_what_a_book_is(levels: list[tuple[int, int, int]], state: BookState) -> None:
    f = BookFeatures(SPEC)
    assert f.state is BookState.EMPTY
    put(f, T0, (BID, 90, 1), (ASK, 110, 1))
    f.on_book(T0 + S, np.array(levels, np.int64).reshape(-1, 3), len(levels), True)
    assert f.state is state
    assert f.is_sound == (state is BookState.SOUND)


def market(seed: int, seconds: float = 60.0) -> list[BookUpdate | Trade]:
    return list(simulate(seed, seconds, T0))  # type: ignore[arg-type]


def feed(f: BookFeatures, events: list[BookUpdate | Trade], by_snapshots: bool = False) -> list[np.ndarray]:
    vectors, book = [], LevelBook()
    for event in events:
        if isinstance(event, Trade):
            f.on_trade(event.ts_recv, event.price, event.size, event.aggressor)
            continue
        book.apply(event)
        levels = list(book.levels()) if by_snapshots else event.levels
        put(f, event.ts_recv, *levels, clear=by_snapshots)
        vectors.append(f.vector.copy())
    return vectors


@given(st.integers(0, 50))
@settings(max_examples=8)
def test_snapshots_and_diffs_give_the_same_features(seed: int) -> None:
    events = market(seed)
    diffs, snapshots = feed(BookFeatures(SPEC), events), feed(BookFeatures(SPEC), events, by_snapshots=True)
    np.testing.assert_array_equal(np.array(diffs), np.array(snapshots))
    assert np.isfinite(np.array(diffs)).all()


def test_a_feature_does_not_know_the_future() -> None:
    events = market(3)
    half = len(events) // 2
    whole, cut = feed(BookFeatures(SPEC), events), feed(BookFeatures(SPEC), events[:half])
    np.testing.assert_array_equal(np.array(whole[: len(cut)]), np.array(cut))


def test_spec_hash_changes_with_what_is_computed() -> None:
    assert FeatureSpec().hash == FeatureSpec().hash
    assert FeatureSpec().hash != FeatureSpec(horizon_s=10.0).hash


# ── targets ───────────────────────────────────────────────────────────────────────────────────


def collect(targets: Targets, script: list[tuple]) -> list[Row | int]:
    out: list[Row | int] = []
    for kind, seconds, *rest in script:
        ts = T0 + round(seconds * S)
        if kind == "book":
            out += targets.on_book(ts, *rest)
        elif kind == "trade":
            out += targets.on_trade(ts, *rest)
        else:
            targets.sample(ts)
    return [*out, *targets.close()]


def test_targets_of_a_hand_made_market() -> None:
    script = [
        ("book", 0, 100, 102, True),
        ("sample", 0),
        ("trade", 0.5, 102, 7, 1),
        ("book", 1, 101, 105, True),  # spread 4 from 1 s on
        ("trade", 4, 101, 3, 2),
        ("book", 5, 110, 112, True),  # at exactly t + H: it had arrived
        ("book", 5.1, 100, 102, True),  # too late
    ]
    (row,) = collect(Targets(5.0, 5.0), script)
    assert isinstance(row, Row)
    assert row.mid_change_ticks == pytest.approx(111 - 101)
    assert row.mean_spread_ticks == pytest.approx((2 * 1 + 4 * 4) / 5)
    assert row.volume_lots == 10
    assert row.reach_ask_ticks == pytest.approx(1.0)  # a buyer reached 102, mid was 101
    assert row.reach_bid_ticks == -1.0  # the seller came after the first second


def test_a_row_that_a_gap_crosses_never_gets_targets() -> None:
    script = [("book", 0, 100, 102, True), ("sample", 0), ("book", 20, 100, 102, True), ("book", 40, 100, 102, True)]
    assert collect(Targets(5.0, 5.0), script) == [T0]


def test_a_row_at_the_end_never_gets_targets() -> None:
    assert collect(Targets(5.0, 5.0), [("book", 0, 100, 102, True), ("sample", 0), ("book", 3, 1, 2, True)]) == [T0]
