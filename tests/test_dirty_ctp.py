"""Faults of CTP recordings: days, nights, stamps, turnover and what vendors leave out."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.conftest import ctp_file, ctp_row
from tests.dirty import books, cmm, events, imported, last, refused, trades, write

DBL_MAX = "1.7976931348623157e+308"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(symbol: str, exchange: str, day: str, action_day: str, time: str, millis: int = 0, volume: float = 100, **more):  # type: ignore[no-untyped-def]
    base = {"last": 5000, "bid": 5000, "ask": 5010, "turnover": volume * 5000.0 * 10}
    base |= more
    return ctp_row(
        time, millis, volume=volume, day=day, action_day=action_day, symbol=symbol, exchange=exchange, **base
    )


def utc(*when: int) -> int:
    return int(dt.datetime(*when, tzinfo=dt.UTC).timestamp()) * 10**9  # type: ignore[arg-type,misc]


def days(instrument: str) -> list[str]:
    return [day["date"] for day in json.loads(cmm("inspect", instrument, "--json").stdout)["days"]]


@pytest.mark.parametrize(
    ("symbol", "exchange", "day", "action_day", "listed"),
    [
        ("TA205", "CZCE", "20220218", "20220218", "CZCE"),  # the calendar's date in both columns
        ("i2205", "DCE", "20220221", "20220221", "DCE"),  # the trading day in both
        ("cu2205", "SHFE", "20220221", "20220218", "SHFE"),
        ("i2205", "", "20220221", "20220221", "DCE"),
        ("TA205", "", "20220218", "20220218", "CZCE"),
    ],
)
def test_a_friday_night_is_mondays(
    home: Path, symbol: str, exchange: str, day: str, action_day: str, listed: str
) -> None:
    night = row(symbol, exchange, day, action_day, "21:00:01")
    monday = row(symbol, exchange, "20220221", "20220221", "09:00:01")
    imported(ctp_file(home / "a.csv", [night, monday]))
    name = f"{symbol}.{listed}"
    assert days(name) == ["2022-02-21"]
    assert [ts for ts, _, _ in books(name)] == [utc(2022, 2, 18, 13, 0, 1), utc(2022, 2, 21, 1, 0, 1)]


def test_a_night_before_a_holiday_does_not_move_into_it(home: Path) -> None:
    night = row("TA205", "CZCE", "20220217", "20220217", "21:00:01")
    after = row("TA205", "CZCE", "20220131", "20220131", "09:00:01")  # closed: spring festival
    counts = imported(
        ctp_file(home / "a.csv", [night]),
        ctp_file(home / "b.csv", [after, row("TA205", "CZCE", "20220207", "20220207", "09:00:01")]),
    )
    assert counts == {"outside_session": 1}
    assert days("TA205.CZCE") == ["2022-02-07", "2022-02-18"]


@pytest.mark.parametrize("early", [False, True])
def test_a_date_that_changes_late_or_early_at_midnight(home: Path, early: bool) -> None:
    stamps = [
        ("23:59:59", 500, "22" if early else "21"),
        ("00:00:00", 0, "22" if early else "21"),
        ("00:00:00", 500, "22"),
    ]
    rows = [row("ag2206", "SHFE", "20220222", "20220221", "23:59:59")]
    rows += [row("ag2206", "SHFE", "20220222", f"202202{d}", time, ms) for time, ms, d in stamps]
    assert imported(ctp_file(home / "a.csv", rows)) == ({} if early else {"day_stamp_corrected": 1})
    start = utc(2022, 2, 21, 15, 59, 59)
    assert [ts - start for ts, _, _ in books("ag2206.SHFE")] == [0, 5 * 10**8, 10**9, 15 * 10**8]


def test_one_row_far_off_is_dropped_and_counted(home: Path) -> None:
    rows = [row("ag2206", "SHFE", "20220222", "20220222", f"09:30:0{s}") for s in range(4)]
    rows[2] = row("ag2206", "SHFE", "20220222", "20220222", "09:10:00")
    assert imported(ctp_file(home / "a.csv", rows)) == {"far_stamp": 1}
    rows[2] = row("ag2206", "SHFE", "20220222", "20220222", "14:10:00")
    assert imported(ctp_file(home / "b.csv", rows)) == {"far_stamp": 1}
    assert len(books("ag2206.SHFE")) == 3


@pytest.mark.parametrize("no_price", [DBL_MAX, "0", "nan", "", 4500])
def test_quotes_before_the_days_first_trade_are_a_book(home: Path, no_price: object) -> None:
    rows = [
        row("wr2205", "SHFE", "20220218", "20220218", f"09:00:0{s}", volume=0, last=no_price, turnover=0)
        for s in range(4)
    ]
    rows.append(row("wr2205", "SHFE", "20220218", "20220218", "09:00:04", volume=2, last=5010, turnover=2 * 5010 * 10))
    imported(ctp_file(home / "a.csv", rows))
    assert len(books("wr2205.SHFE")) >= 4
    assert trades("wr2205.SHFE") == [(5010.0, 2, "buy")]


def test_a_row_of_zeros_is_not_the_days_beginning(home: Path) -> None:
    rows = [row("rb2205", "SHFE", "20220218", "20220218", "10:00:00", volume=0, last=0, turnover=0)]
    rows += [row("rb2205", "SHFE", "20220218", "20220218", f"10:00:0{s}", volume=900_000 + s) for s in (1, 2)]
    assert imported(ctp_file(home / "a.csv", rows)) == {"warm_up": 1}
    assert [lots for _, lots, _ in trades("rb2205.SHFE")] == [1]


@pytest.mark.parametrize("word", ["nan", "NA", "#N/A", "NaN", "null", "", "None", DBL_MAX])
def test_nothing_as_vendors_write_it(home: Path, word: str) -> None:
    rows = [row("rb2205", "SHFE", "20220218", "20220218", f"09:00:0{s}") for s in (1, 2)]
    rows.append(row("rb2205", "SHFE", "20220218", "20220218", "09:00:03", ask=word, sizes=(900, 0)))
    imported(ctp_file(home / "a.csv", rows))
    assert last("rb2205.SHFE") == ([[5000.0, 900.0]], [])


def test_rows_of_one_second_are_spread_over_it(home: Path) -> None:
    rows = [
        row("TA205", "CZCE", "20220218", "20220218", f"09:30:0{s}", volume=100 + i)
        for i, s in enumerate((1, 1, 2, 2, 2, 3))
    ]
    assert imported(ctp_file(home / "a.csv", rows))["spread_over_second"] == 5
    start = utc(2022, 2, 18, 1, 30, 1)
    offsets = [(ts - start) / 1e9 for ts, _, _ in books("TA205.CZCE")]
    assert offsets == pytest.approx([0, 0.5, 1, 4 / 3, 5 / 3, 2], abs=1e-6)
    reasons = json.loads(cmm("inspect", "TA205.CZCE", "--json").stdout)["reasons"]
    assert any("whole seconds" in text and "5 rows" in text for text in reasons)


def test_fine_stamps_are_left_as_they_are(home: Path) -> None:
    rows = [
        row("rb2205", "SHFE", "20220218", "20220218", "09:30:01", ms, volume=100 + i) for i, ms in enumerate((0, 500))
    ]
    rows += [row("rb2205", "SHFE", "20220218", "20220218", "09:30:02", 0, volume=v) for v in (102, 103)]
    assert imported(ctp_file(home / "a.csv", rows)) == {}


def test_a_turnover_that_never_agrees_is_one_remark(home: Path) -> None:
    rows = [
        row(
            "TA205",
            "CZCE",
            "20220218",
            "20220218",
            "09:30:00",
            500 * (i % 2),
            volume=1000 + i,
            turnover=(1000 + i) * 4900 * 5,
        )
        for i in range(2)
    ]
    rows += [
        row(
            "TA205", "CZCE", "20220218", "20220218", f"09:30:0{i}", 500, volume=1001 + i, turnover=(1001 + i) * 4900 * 5
        )
        for i in range(1, 6)
    ]
    assert imported(ctp_file(home / "a.csv", rows)) == {}
    found = json.loads(cmm("inspect", "TA205.CZCE", "--json").stdout)
    assert sum("turnover agrees with volume in none of 6 intervals" in text for text in found["reasons"]) == 1
    assert [price for price, _, _ in trades("TA205.CZCE")] == [5000.0] * 6


@pytest.mark.parametrize(("day", "lots"), [("20191231", 5), ("20200102", 10)])
def test_volume_counted_both_sides_until_2019(home: Path, day: str, lots: int) -> None:
    rows = [
        row("cu2003", "SHFE", day, day, f"09:30:0{s}", volume=v, turnover=v * 5000 * 5) for s, v in ((1, 100), (2, 110))
    ]
    imported(ctp_file(home / "a.csv", rows))
    assert [n for _, n, _ in trades("cu2003.SHFE")] == [lots]


def test_a_vendor_that_halved_the_volume_is_believed(home: Path) -> None:
    rows = [
        row("cu2003", "SHFE", "20191230", "20191230", f"09:30:0{s}", volume=v, turnover=v * 5000 * 5)
        for s, v in ((1, 100), (2, 107))
    ]
    imported(ctp_file(home / "a.csv", rows))
    assert [n for _, n, _ in trades("cu2003.SHFE")] == [7]


def test_negative_prices_are_refused(home: Path) -> None:
    rows = [row("sc2005", "INE", "20200420", "20200420", "09:30:01", last=-10, bid=-10, ask=-9)]
    refused(cmm("import", ctp_file(home / "a.csv", rows)), "zero or below")


def test_terms_are_those_of_the_trading_day(home: Path) -> None:
    """The night of the 30th belongs to the day from which on the tick is another."""
    table = write(
        home / "mine.yaml",
        "contracts:",
        "- {exchange: SHFE, product: cu, kind: future, currency: CNY, tick: 10, multiplier: 5, sessions: cn_0100, until: 2022-03-01}",
        "- {exchange: SHFE, product: cu, kind: future, currency: CNY, tick: 5, multiplier: 5, sessions: cn_0100}",
    )
    here = ("--set", f"data.contracts=[{table}]")
    night = row("cu2205", "SHFE", "20220301", "20220228", "21:00:01", bid=5005, last=5005)
    result = cmm("import", ctp_file(home / "a.csv", [night]), *here)
    assert result.exit_code == 0, result.output
    (event,) = [json.loads(text) for text in cmm("events", "cu2205.SHFE", "--json", *here).stdout.splitlines()]
    assert (event["bids"], event["asks"]) == ([[5005.0, 3.0]], [[5010.0, 4.0]])
    later = row("cu2205", "SHFE", "20220301", "20220228", "21:00:01")
    both = ctp_file(home / "b.csv", [row("cu2205", "SHFE", "20220228", "20220228", "09:30:00"), later])
    refused(cmm("import", both, *here, "--set", "data.path=other"), "terms change on 2022-03-01", "split its files")


def test_microseconds_in_tqsdk_files(home: Path) -> None:
    header = "symbol,datetime,ask_price1,ask_volume1,bid_price1,bid_volume1,last_price,volume,amount"
    imported(write(home / "a.csv", header, "SHFE.rb2210,1655776800000000,4301,10,4300,5,4300,100,4300000"))
    assert events("rb2210.SHFE")[0]["ts"] == 1_655_776_800_000_000_000
