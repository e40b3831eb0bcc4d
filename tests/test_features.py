"""Features and targets: known answers, causality, equal results by snapshots and by diffs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.array_book import BookState
from market.events import ASK, BID, BookUpdate, Trade
from market.level_book import LevelBook
from models.features.book_features import BookFeatures, FeatureSpec
from models.features.outcomes import REACH_S, Known, Outcome, OutcomeTracker
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


# ── outcomes ──────────────────────────────────────────────────────────────────────────────────


type Event = tuple[str, int, tuple[int, ...]]
"""(book, trade or sample, ns after T0, what it says): a book is (bid, ask, sound), a trade (price, lots, aggressor)."""


def seconds(script: list[tuple]) -> list[Event]:
    return [(kind, round(when * S), tuple(rest)) for kind, when, *rest in script]


def collect(events: list[Event], horizon_s: float = 5.0, max_gap_s: float = 5.0) -> list[Known[int]]:
    """What the tracker says of each sample, noted by its place among the samples."""
    tracker: OutcomeTracker[int] = OutcomeTracker(horizon_s, max_gap_s)
    known: list[Known[int]] = []
    taken = 0
    for kind, when, rest in events:
        if kind == "book":
            bid, ask, sound = rest
            known += tracker.on_book(T0 + when, bid, ask, sound=bool(sound))
        elif kind == "trade":
            known += tracker.on_trade(T0 + when, *rest)
        else:
            tracker.sample(T0 + when, taken)
            taken += 1
    return known + tracker.close()


def test_outcome_of_a_hand_made_market() -> None:
    script = [
        ("book", 0, 100, 102, True),
        ("sample", 0),
        ("trade", 0.5, 102, 7, 1),
        ("book", 1, 101, 105, True),  # spread 4 from 1 s on
        ("trade", 4, 101, 3, 2),
        ("book", 5, 110, 112, True),  # at exactly t + H: it had arrived
        ("book", 5.1, 100, 102, True),  # too late
    ]
    ((_, outcome),) = collect(seconds(script))
    assert outcome is not None
    assert outcome.mid_change_ticks == pytest.approx(111 - 101)
    assert outcome.mean_spread_ticks == pytest.approx((2 * 1 + 4 * 4) / 5)
    assert outcome.volume_lots == 10
    assert outcome.reach_ask_ticks == pytest.approx(1.0)  # a buyer reached 102, mid was 101
    assert outcome.reach_bid_ticks == -1.0  # the seller came after the first second


@pytest.mark.parametrize(
    "after",
    [
        [("book", 20, 100, 102, True), ("book", 40, 100, 102, True)],  # over a gap
        [("book", 1, 102, 102, False), ("book", 2, 100, 102, True), ("book", 6, 100, 102, True)],  # over a broken book
        [("book", 3, 1, 2, True)],  # over the end
    ],
)
def test_a_sample_that_a_break_crosses_has_no_outcome(after: list[tuple]) -> None:
    assert collect(seconds([("book", 0, 100, 102, True), ("sample", 0), *after])) == [(0, None)]


def test_samples_are_due_when_the_last_lies_long_enough_back() -> None:
    tracker: OutcomeTracker[None] = OutcomeTracker(5.0, 5.0, every_ns=S)
    assert tracker.is_due(T0)
    tracker.sample(T0, None)
    assert [tracker.is_due(T0 + ns) for ns in (0, S - 1, S)] == [False, False, True]


def reference(events: list[Event], horizon: int, gap: int) -> list[Outcome | None]:
    """Each sample by itself, as the definition reads: what lay in (t, t + H], unless a break came before its end."""
    return [
        follow(events[:place], events[place + 1 :], start, start + horizon, gap)
        for place, (kind, start, _) in enumerate(events)
        if kind == "sample"
    ]


def follow(past: list[Event], future: list[Event], start: int, end: int, gap: int) -> Outcome | None:
    future = [event for event in future if event[0] != "sample"]
    inside = [event for event in future if event[1] <= end]
    times = [start, *(when for _, when, _ in future[: len(inside) + 1])]
    whole = len(future) > len(inside) and all(later - earlier <= gap for earlier, later in pairwise(times))
    if not whole or any(kind == "book" and not rest[2] for kind, _, rest in inside):
        return None
    books = [(start, past[-1][2]), *((when, rest) for kind, when, rest in inside if kind == "book")]
    trades = [(when, *rest) for kind, when, rest in inside if kind == "trade"]
    widths = [(when, ask - bid) for when, (bid, ask, _) in books]
    area = sum(width * (later - when) for (when, width), (later, _) in pairwise([*widths, (end, 0)]))
    mids = [0.5 * (bid + ask) for _, (bid, ask, _) in books]
    near = [(side, price) for when, price, _, side in trades if start < when <= start + round(REACH_S * S)]
    return Outcome(
        T0 + start, mids[-1] - mids[0], area / (end - start), sum(lots for _, _, lots, _ in trades),
        max((mids[0] - price for side, price in near if side == 2), default=-1.0),
        max((price - mids[0] for side, price in near if side == 1), default=-1.0),
    )  # fmt: skip


@st.composite
def markets(draw: st.DrawFn) -> list[Event]:
    """Events at rising times, in steps of tenths of a second; a sample follows a sound book of its own time."""
    events: list[Event] = [("book", 0, (100, 102, 1))]
    now = 0
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0, 1, 3, 5, 10, 25])) * S // 10
        if draw(st.booleans()):
            side = draw(st.integers(0, 2))
            events.append(("trade", now, (draw(st.integers(90, 115)), draw(st.integers(1, 9)), side)))
            continue
        bid = draw(st.integers(95, 110))
        sound = draw(st.integers(0, 9)) > 0
        events.append(("book", now, (bid, bid + draw(st.integers(1, 5)), int(sound))))
        if sound and draw(st.booleans()):
            events.append(("sample", now, ()))
    return events


@given(markets(), st.sampled_from([1.0, 3.0, 5.0]), st.sampled_from([1.0, 2.5]))
@settings(max_examples=300, deadline=None)
def test_the_tracker_says_what_the_definition_says(events: list[Event], horizon_s: float, max_gap_s: float) -> None:
    known = collect(events, horizon_s, max_gap_s)
    wanted = reference(events, round(horizon_s * S), round(max_gap_s * S))
    assert [noted for noted, _ in known] == list(range(len(wanted)))  # each once, in order of time
    for (_, outcome), other in zip(known, wanted, strict=True):
        assert (outcome is None) == (other is None)
        if outcome is not None and other is not None:
            assert outcome == pytest.approx(other, rel=1e-9, abs=1e-9)
