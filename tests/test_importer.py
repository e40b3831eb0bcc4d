"""The importer: whole days only, stopped and run again, days split, sessions kept."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from market.contracts import ContractTable, Sessions, expiry
from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event, Trade
from market.sessions import SessionClock
from tests.conftest import ctp_day, ctp_file, ctp_row
from venues.recordings import day_writer, importer
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_events, import_recording
from venues.recordings.loaders import recordings
from venues.recordings.quality import measure

NS = 10**9


def quiet(*_: object) -> None:
    pass


def do_import(catalog: Catalog, *paths: Path, again: bool = False) -> list[importer.Imported]:
    return [import_recording(catalog, recording, quiet, again) for recording in recordings(list(paths))]


def ns(*when: int) -> int:
    return int(dt.datetime(*when, tzinfo=dt.UTC).timestamp()) * NS  # type: ignore[arg-type,misc]


def test_a_day_comes_back_as_it_went_in(catalog: Catalog, tmp_path: Path) -> None:
    (done,) = do_import(catalog, ctp_day(tmp_path / "a.csv"))
    (day,) = done.days
    assert (day.instrument, day.date, day.depth, day.book_updates) == ("IF2101.CFFEX", dt.date(2021, 1, 4), 1, 400)
    deltas, trades = zip(*catalog.chunks(day), strict=True)
    assert len(trades[0]) == day.trades == 399
    batches = [d for d in deltas[0] if d.flags & 128]
    assert len(batches) == 400
    stamps = sorted([d.ts_init for d in batches] + [t.ts_init for t in trades[0]])
    assert len(set(stamps)) == len(stamps)  # strictly increasing: a merge cannot change the order
    assert catalog.resolve("CFFEX.IF2101") == catalog.resolve("IF2101.CFFEX") == "IF2101.CFFEX"


def test_import_twice_changes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    path = ctp_day(tmp_path / "a.csv")
    (first,), (second,) = do_import(catalog, path), do_import(catalog, path)
    assert not first.skipped
    assert second.skipped
    assert second.days == first.days
    (recording,) = recordings([path])
    anew = import_recording(catalog, recording, quiet, again=True)
    assert not anew.skipped
    assert anew.days == first.days  # the same bytes in, the same entry out


def test_an_import_stopped_half_way_leaves_nothing_that_passes_for_whole(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ctp_day(tmp_path / "a.csv")
    monkeypatch.setattr(day_writer, "CHUNK", 100)  # several files a day, some of them moved

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "nautilus", die)  # after the files were moved, before the manifest is written
        with pytest.raises(KeyboardInterrupt):
            do_import(catalog, path)
    assert catalog.instruments() == []
    assert list((catalog.root / "data").rglob("*.parquet"))  # orphans lie there …
    (done,) = do_import(catalog, path)  # … and are cleared away, not mixed in
    assert not done.skipped
    assert sum(bool(d.flags & 128) for deltas, _ in catalog.chunks(done.days[0]) for d in deltas) == 400


def test_a_catalog_whose_manifest_was_called_ledger_opens_and_a_day_imported_again_leaves_it(
    catalog: Catalog, tmp_path: Path
) -> None:
    do_import(catalog, ctp_day(tmp_path / "a.csv", 300))
    day = catalog.day("IF2101.CFFEX", dt.date(2021, 1, 4))
    (catalog.root / "manifest").rename(catalog.root / "ledger")
    assert catalog.instruments() == ["IF2101.CFFEX"]
    assert catalog.days("IF2101.CFFEX") == {day.date: day}
    assert do_import(catalog, tmp_path / "a.csv")[0].skipped
    (done,) = do_import(catalog, ctp_day(tmp_path / "b.csv", 200), again=True)
    assert catalog.days("IF2101.CFFEX") == {day.date: done.days[0]}
    assert not list((catalog.root / "ledger").rglob("*.json"))
    assert list((catalog.root / "manifest").rglob("*.json"))


def test_a_bad_row_late_in_a_file_keeps_earlier_imports(catalog: Catalog, tmp_path: Path) -> None:
    good = ctp_day(tmp_path / "good.csv")
    do_import(catalog, good)
    before = catalog.days("IF2101.CFFEX")
    bad = ctp_file(
        tmp_path / "bad.csv", [*good.read_text().splitlines()[1:], ctp_row("09:40:00", volume="x", turnover=1)]
    )
    with pytest.raises(DataError, match="'x' is not a number"):
        do_import(catalog, bad)
    assert catalog.days("IF2101.CFFEX") == before
    assert not (catalog.root / ".staging").exists()


def test_a_file_that_tells_a_part_of_what_is_there_adds_nothing(catalog: Catalog, tmp_path: Path) -> None:
    do_import(catalog, ctp_day(tmp_path / "a.csv", 300))
    (done,) = do_import(catalog, ctp_day(tmp_path / "b.csv", 200))
    day = catalog.day("IF2101.CFFEX", dt.date(2021, 1, 4))
    assert day == done.days[0]
    assert day.book_updates == 300
    assert sum(bool(d.flags & 128) for deltas, _ in catalog.chunks(day) for d in deltas) == 300


def test_auction_rows_and_rows_after_the_close_are_left_out(catalog: Catalog, tmp_path: Path) -> None:
    rows = [
        ctp_row("09:29:00"),
        ctp_row("09:30:00"),
        ctp_row("15:00:00", 0, volume=101),
        ctp_row("15:30:48", volume=101),
    ]
    (done,) = do_import(catalog, ctp_file(tmp_path / "a.csv", rows))
    assert done.drops["outside_session"] == 2
    assert done.days[0].book_updates == 2


def test_a_second_import_waits_for_the_first(catalog: Catalog, contracts: ContractTable) -> None:
    with (
        catalog.lock(),
        pytest.raises(DataError, match="another import is running"),
        Catalog(catalog.root, contracts).lock(),
    ):
        pass


def days_of_diffs() -> Iterator[Event]:
    """A book that is told once, before midnight, and changes after it."""
    midnight = ns(2024, 7, 19)
    name = "BTCUSDT-PERP.BINANCE"
    yield Trade(name, 1, midnight - 9 * NS, 640_000, 1, 1)  # nothing is known yet
    start = [(BID, 640_000, 5), (BID, 639_990, 7), (ASK, 640_001, 6)]
    yield BookUpdate(name, 1, midnight - 5 * NS, start, snapshot=True)
    yield BookUpdate(name, 1, midnight + NS, [(BID, 640_000, 3)])
    yield Trade(name, 1, midnight + 2 * NS, 640_001, 2, 1)


def test_each_day_begins_with_the_whole_book(catalog: Catalog) -> None:
    drops: Counter[str] = Counter()
    done = import_events(catalog, days_of_diffs(), "x", "binance", [], drops, quiet)
    first, second = done.days
    assert (first.date, second.date) == (dt.date(2024, 7, 18), dt.date(2024, 7, 19))
    assert (first.book_updates, second.book_updates, second.trades) == (1, 2, 1)
    assert second.levels == 4  # the book as it stood, then the change
    assert measure(catalog, second)[0].spread_ticks_mean == pytest.approx(1.0)
    assert drops == Counter(trade_before_book=1)


def test_another_tick_does_not_mix_into_a_catalog(catalog: Catalog) -> None:
    import_events(catalog, days_of_diffs(), "x", "binance", [], Counter(), quiet)
    old = BookUpdate("BTCUSDT-PERP.BINANCE", 1, ns(2020, 9, 1), [(BID, 1, 1), (ASK, 2, 1)], snapshot=True)
    with pytest.raises(DataError, match="another catalog"):
        import_events(catalog, [old], "y", "tardis", [], Counter(), quiet)


# ── sessions and contracts ────────────────────────────────────────────────────────────────────


def test_night_sessions_belong_to_the_next_weekday(contracts: ContractTable) -> None:
    clock = SessionClock(contracts.by_id("ag2402.SHFE").sessions)
    friday_night, after_midnight, monday = ns(2023, 12, 1, 13, 30), ns(2023, 12, 1, 18), ns(2023, 12, 4, 2)
    assert [clock.trading_day(t) for t in (friday_night, after_midnight, monday)] == [dt.date(2023, 12, 4)] * 3
    assert [clock.is_open(t) for t in (friday_night, after_midnight, ns(2023, 12, 1, 19), monday)] == [
        True,
        True,
        False,
        True,
    ]
    opens = clock.closes(friday_night, monday)
    assert opens[0] == (ns(2023, 12, 1, 13), ns(2023, 12, 1, 18, 30))
    assert opens == sorted(opens)


@pytest.mark.parametrize(("zone", "hours"), [("America/New_York", "09:30-16:00"), ("Europe/London", "18:00-17:00")])
@pytest.mark.parametrize("month", [3, 11])
def test_sessions_are_wall_clock_times_across_a_change_of_the_clock(zone: str, hours: str, month: int) -> None:
    clock = SessionClock(Sessions(timezone=zone, hours=[hours]))
    first, last = ns(2024, month, 1), ns(2024, month, 28) if month == 11 else ns(2024, 4, 5)
    spans = clock.closes(first, last)
    for start, end in spans:
        opens, closes = (dt.datetime.fromtimestamp(t / NS, ZoneInfo(zone)).strftime("%H:%M") for t in (start, end))
        assert f"{opens}-{closes}" == hours
    for ts in range(first, last, 1800 * NS):
        assert clock.is_open(ts) == any(start <= ts < end + NS for start, end in spans)


def test_holidays_close_their_day_and_the_evening_before(contracts: ContractTable, tmp_path: Path) -> None:
    clock = SessionClock(contracts.by_id("ag2402.SHFE").sessions)
    eve, holiday, back = ns(2022, 9, 30, 13, 30), ns(2022, 10, 3, 2), ns(2022, 10, 10, 2)
    assert [clock.is_open(t) for t in (eve, holiday, back)] == [False, False, True]
    assert clock.trading_day(eve) == dt.date(2022, 10, 10)
    nasdaq = SessionClock(contracts.by_id("AAPL.NASDAQ").sessions)
    assert [nasdaq.is_open(ns(2023, 11, 24, 17, 30)), nasdaq.is_open(ns(2023, 11, 24, 18, 30))] == [True, False]
    extra = tmp_path / "mine.yaml"
    extra.write_text("holidays: {cn: {closed: [2022-10-10]}}")
    assert not SessionClock(ContractTable([extra]).by_id("ag2402.SHFE").sessions).is_open(back)


def test_around_the_clock_days_are_utc_dates(contracts: ContractTable) -> None:
    clock = SessionClock(contracts.by_id("BTCUSDT.BINANCE").sessions)
    assert clock.trading_day(ns(2024, 8, 8, 23, 59)) == dt.date(2024, 8, 8)
    assert clock.is_open(ns(2024, 8, 10, 3))


def test_contract_terms(contracts: ContractTable, tmp_path: Path) -> None:
    future = contracts.by_id("CFFEX.IF2101")
    assert (future.id, future.value_per_tick_lot) == ("IF2101.CFFEX", pytest.approx(60.0))
    assert future.ticks(5230.2) == 26151
    assert future.ticks(5230.25) is None
    assert contracts.find(None, "TA205").id == "TA205.CZCE"  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no terms for it"):
        contracts.by_id("NOPE.NOWHERE")
    extra = tmp_path / "mine.yaml"
    extra.write_text(
        "contracts: [{exchange: CFFEX, product: IF, kind: future, currency: CNY, tick: 0.4, multiplier: 300}]"
    )
    assert ContractTable([extra]).by_id("IF2101.CFFEX").tick == 0.4
    extra.write_text("contracts: [{exchange: CFFEX, produkt: IF}]")
    with pytest.raises(DataError, match="produkt"):
        ContractTable([extra])


@pytest.mark.parametrize(
    ("symbol", "near", "expected"),
    [
        ("IF2101", dt.date(2021, 1, 4), dt.date(2021, 2, 1)),
        ("TA205", dt.date(2022, 2, 18), dt.date(2022, 6, 1)),
        ("TA001", dt.date(2019, 5, 1), dt.date(2020, 2, 1)),
        ("rb2212", dt.date(2022, 2, 18), dt.date(2023, 1, 1)),
        ("BTCUSDT_240927", dt.date(2024, 7, 19), dt.date(2024, 9, 27)),
    ],
)
def test_expiry(symbol: str, near: dt.date, expected: dt.date) -> None:
    assert expiry(symbol, near) == expected
