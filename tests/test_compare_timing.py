"""What a run's order log tells of its times, and our own lots in the book that the public sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare.own_lots import OwnLots
from engine.compare.records import Log
from engine.compare.timing import arrivals, away, latency_series, lateness_series, write_series
from engine.live.records.order_log import ENDED, Answered, Filled, Quoting, Sent
from engine.plan import _without
from market.events import ASK, BID, BookUpdate, Trade
from strategies.quoting_hours import QuotingHours
from strategies.values import Kind
from venues.simulation.latency import Series

MS, S = 10**6, 10**9


def log(*entries: object) -> Log:
    def of(kind: type) -> list:
        return [entry for entry in entries if isinstance(entry, kind)]

    return Log(of(Sent), of(Answered), of(Filled), of(Quoting), [], 100 * S, True)


def place(key: str, at: int, price: int = 100, lots: int = 1, side: int = BID) -> Sent:
    return Sent(at - MS, at, key, int(Kind.PLACE), side, price, lots)


def test_a_command_arrives_when_the_exchange_says_so_by_our_clock() -> None:
    """Its clock is an hour ahead, and its market data take 3 ms: a minute of delay in its answer is none of the way."""
    hour = 3600 * S
    found = arrivals(
        log(
            place("a", 10 * S),
            Answered(70 * S, "a", "accepted", 10 * S + hour + 20 * MS),
            Sent(80 * S, 80 * S, "a", int(Kind.CANCEL), BID, 100, 0),
            Answered(80 * S + 9 * MS, "a", "gone", 80 * S + hour + 2 * MS),
        ),
        3 * MS - hour,
    )
    assert [(arrival.ts_ns, arrival.was_taken) for arrival in found] == [
        (10 * S + 23 * MS, True), (80 * S + 5 * MS, True),
    ]  # fmt: skip
    assert latency_series(found) == [(10 * S - MS, 24.0)]


def test_where_clocks_say_what_cannot_be_sending_and_hearing_bound_it() -> None:
    for stamp in (0, 99 * S):
        (found,) = arrivals(log(place("a", 10 * S), Answered(11 * S, "a", "accepted", stamp)), 0)
        assert found.ts_ns == (10 * S if stamp == 0 else 11 * S)


def test_refused_unanswered_and_filled_at_once() -> None:
    found = arrivals(
        log(
            place("refused", S), Answered(2 * S, "refused", "refused", 2 * S),
            place("lost", 3 * S),
            place("filled", 4 * S), Filled(5 * S, 5 * S, "filled", BID, 100, 1, True, "0", "T1"),
        ),
        0,
    )  # fmt: skip
    assert [(arrival.sent.key, arrival.was_taken) for arrival in found] == [("refused", False), ("filled", True)]
    assert len(latency_series(found)) == 1


def test_data_that_come_late_and_data_that_never_come() -> None:
    market = [(i * S + 3 * MS, i * S) for i in range(1, 9)]
    seen = [(t + 400 * MS if t > 5 * S else t, event) for t, event in market if event != 3 * S]
    rows = lateness_series(market, seen, 3 * MS)
    assert rows == [(S + 3 * MS, 0.0), (3 * S + 3 * MS, 1000.0), (4 * S + 3 * MS, 0.0), (5 * S + 3 * MS, 400.0)]
    assert lateness_series(market, market, 3 * MS) == [(S + 3 * MS, 0.0)]
    assert lateness_series(market, [], 0) == []


def test_a_series_is_what_the_latency_model_reads(tmp_path: Path) -> None:
    series = Series(write_series(tmp_path / "late.csv", [(10, 0.25), (20, 3.0)]))
    assert [series.at(ts) for ts in (10, 19, 20, 99)] == [250_000, 250_000, 3 * MS, 3 * MS]


def test_times_without_quotes_and_whose_they_are() -> None:
    entries = [
        Quoting(10, ""), Quoting(20, "stale"), Quoting(25, "recovering"), Quoting(30, ""), Quoting(40, "crossed"),
        Quoting(45, "recovering"), Quoting(50, ""), Quoting(60, "model_deadline"), Quoting(65, ""), Quoting(70, "signal"),
        Quoting(80, ENDED),
    ]  # fmt: skip
    found = away(log(*entries), 5, 90)
    assert found == [
        (5, 10, "not_ready", False), (20, 25, "stale", True), (25, 30, "recovering", True), (40, 45, "crossed", False),
        (45, 50, "recovering", False), (60, 65, "model_deadline", False), (70, 80, "signal", False),
    ]  # fmt: skip
    assert "model_deadline" not in {one.reason for one in away(log(*entries), 5, 90, is_wide=True)}
    assert away(log(Quoting(10, ""), Quoting(20, "drift")), 5, 90)[-1] == (20, 90, "drift", False)


_SPANS = st.lists(st.integers(0, 200), min_size=4, max_size=4, unique=True).map(sorted)


@given(_SPANS, st.integers(0, 30), st.integers(0, 200))
def test_nothing_is_quoted_in_closed_times_and_all_else_stands(closed: list[int], stop: int, ts: int) -> None:
    sessions, times = [(10, 100), (120, 190)], ((closed[0], closed[1]), (closed[2], closed[3]))
    is_closed = any(start <= ts < end for start, end in times)
    hours = QuotingHours(_without(sessions, times, stop), stop / 1e9)
    before = QuotingHours(sessions, stop / 1e9).contain(ts)
    if is_closed:
        assert not hours.contain(ts)
    elif before:
        assert hours.contain(ts)


# ── our own lots ──────────────────────────────────────────────────────────────────────────────


def book(at: int, *levels: tuple[int, int, int]) -> BookUpdate:
    return BookUpdate("X", at, at, list(levels))


def test_our_own_lots_are_taken_out_while_they_stand() -> None:
    own = OwnLots(
        log(
            place("a", 10 * S, lots=3), Answered(10 * S + 5 * MS, "a", "accepted", 0),
            Filled(20 * S, 0, "a", BID, 100, 1, True, "0", "T1"),
            Sent(30 * S, 30 * S, "a", int(Kind.CANCEL), BID, 100, 0), Answered(30 * S + 4 * MS, "a", "gone", 0),
        )
    )  # fmt: skip

    def others(at: int, lots: int) -> int:
        ((_, _, left),) = own.take_out(book(at, (BID, 100, lots))).levels  # type: ignore[union-attr]
        return left

    assert others(9 * S, 5) == 5
    assert others(10 * S + 3 * MS, 8) == 5  # before we hear of it
    assert others(11 * S, 9) == 6
    assert others(20 * S, 8) == 6  # one of ours has filled
    assert others(25 * S, 2) == 0  # never less than nothing
    assert others(26 * S, 8) == 6
    assert others(30 * S + 2 * MS, 6) == 6  # the cancel took ours
    assert others(40 * S, 7) == 7


def test_other_levels_and_trades_stay_as_they_are() -> None:
    own = OwnLots(log(place("a", S), Answered(S + MS, "a", "accepted", 0)))
    assert own.take_out(book(5 * S, (ASK, 100, 4), (BID, 99, 2))).levels == [(ASK, 100, 4), (BID, 99, 2)]  # type: ignore[union-attr]
    trade = Trade("X", S, S, 100, 1, 1)
    assert own.take_out(trade) is trade


@pytest.mark.parametrize("gone", [True, False])
def test_an_order_that_no_size_shows_is_believed_after_a_while(gone: bool) -> None:
    """Others left at the same moment: the level did not grow by it."""
    answers = [Answered(S + MS, "a", "accepted", 0)]
    if gone:
        answers.append(Answered(2 * S, "a", "gone", 0))
    own = OwnLots(log(place("a", S, lots=2), *answers))
    own.take_out(book(S // 2, (BID, 100, 6)))
    own.take_out(book(S + 2 * MS, (BID, 100, 6)))
    assert own.take_out(book(9 * S, (BID, 100, 6))).levels == [(BID, 100, 6 if gone else 4)]  # type: ignore[union-attr]
