"""Fills matched one by one, and a difference of PnL that its shares sum to: properties of any two lists of fills."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from engine.backtest.run_record import Fill
from engine.compare.matching import match
from engine.compare.split import CAUSES, FillValuation, Stage, by_cause, by_fill, changed_by, steps_of
from market.events import ASK, BID
from market.valuation import Valuation

S = 10**9
_FILL = st.builds(
    Fill, st.integers(0, 40 * S), st.sampled_from([BID, ASK]), st.integers(99, 102), st.integers(1, 3), st.just(True),
    st.just(False), st.floats(-3, 3).map(lambda cost: round(cost, 2)),
)  # fmt: skip
_FILLS = st.lists(_FILL, max_size=12).map(sorted)
_STAGES = st.lists(st.builds(Stage, st.sampled_from(CAUSES), st.just("this"), _FILLS), min_size=1, max_size=6)
VALUE = FillValuation(Valuation(12.5), 100.37)


@given(_FILLS, _FILLS, st.integers(0, 20 * S))
def test_each_fill_is_in_exactly_one_pair(ours: list[Fill], theirs: list[Fill], within_ns: int) -> None:
    pairs = match(ours, theirs, within_ns)
    assert Counter(pair.ours for pair in pairs if pair.ours is not None) == Counter(ours)
    assert Counter(pair.theirs for pair in pairs if pair.theirs is not None) == Counter(theirs)
    for one, other in pairs:
        if one is not None and other is not None:
            assert (one.side, one.price_ticks) == (other.side, other.price_ticks)
            assert abs(one.ts_ns - other.ts_ns) <= within_ns
    assert [pair.ts_ns for pair in pairs] == sorted(pair.ts_ns for pair in pairs)


@given(_FILLS, _FILLS, st.integers(0, 20 * S))
def test_nobody_is_left_alone_beside_one_who_would_match(ours: list[Fill], theirs: list[Fill], within_ns: int) -> None:
    pairs = match(ours, theirs, within_ns)
    alone = [pair.ours for pair in pairs if pair.theirs is None]
    left = [pair.theirs for pair in pairs if pair.ours is None]
    for one in alone:
        for other in left:
            assert one is not None and other is not None
            apart = abs(one.ts_ns - other.ts_ns) > within_ns
            assert apart or (one.side, one.price_ticks) != (other.side, other.price_ticks)


@given(_FILLS)
def test_a_run_matches_itself(fills: list[Fill]) -> None:
    pairs = match(fills, fills, S)
    assert all(pair.ours is not None and pair.theirs is not None for pair in pairs)
    assert all(abs(pair.ours.ts_ns - pair.theirs.ts_ns) == 0 for pair in pairs if pair.ours and pair.theirs)


@given(_FILLS, _FILLS, st.integers(0, 20 * S))
def test_seen_from_the_other_side_the_same_fills_are_alone(
    ours: list[Fill], theirs: list[Fill], within_ns: int
) -> None:
    here, there = match(ours, theirs, within_ns), match(theirs, ours, within_ns)
    assert sum(p.theirs is None for p in here) - sum(p.ours is None for p in here) == len(ours) - len(theirs)
    assert sum(p.theirs is None for p in there) - sum(p.ours is None for p in there) == len(theirs) - len(ours)


@given(_FILLS, _STAGES, st.integers(0, 20 * S))
def test_the_shares_sum_to_the_difference_to_the_last_digit(
    start: list[Fill], stages: list[Stage], within_ns: int
) -> None:
    steps = steps_of(start, stages, VALUE, within_ns)
    difference = VALUE.total(stages[-1].fills) - VALUE.total(start)
    assert sum((step.share for step in steps), Decimal(0)) == difference
    shares = by_cause(steps)
    assert tuple(shares) == CAUSES
    assert sum(shares.values()) == difference
    for step, stage, before in zip(steps, stages, [start, *(one.fills for one in stages)], strict=False):
        assert step.gained - step.lost == len(stage.fills) - len(before)
        assert step.changed <= len(stage.fills) + len(before)
    assert sum(changed_by(steps).values()) == sum(step.changed for step in steps)


@given(_FILLS, _FILLS, st.integers(0, 20 * S))
def test_extra_missed_and_other_fills_sum_to_the_difference_too(
    ours: list[Fill], theirs: list[Fill], within_ns: int
) -> None:
    parts = by_fill(match(ours, theirs, within_ns), VALUE)
    assert parts.extra + parts.missed + parts.sizes + parts.fees == VALUE.total(ours) - VALUE.total(theirs)


def test_the_nearest_are_matched_and_what_differs_is_named() -> None:
    def fill(ts: float, lots: int = 1, price: int = 100, side: int = BID) -> Fill:
        return Fill(round(ts * S), side, price, lots, True, False, 0.0)

    ours = [fill(1.0), fill(2.0), fill(5.0, lots=2), fill(9.0), fill(9.5, side=ASK)]
    theirs = [fill(1.05), fill(2.9), fill(5.0), fill(9.0, price=101)]
    fates = [(pair.fate, pair.ts_ns / S) for pair in match(ours, theirs, 3 * S)]
    assert fates == [
        ("same", 1.0), ("other_time", 2.0), ("other_size", 5.0), ("ours_only", 9.0), ("theirs_only", 9.0), ("ours_only", 9.5),
    ]  # fmt: skip
    assert match(ours, [], S)[0].fate == "ours_only"
    assert match([], [], S) == []
