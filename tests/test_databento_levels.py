"""Databento's levels and trades: `mbp-10`, `mbp-1`, `tbbo` and `trades`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import databento_dbn as dbn
import pytest
import zstandard

from tests.dirty import cmm, events, imported, refused, trades

NS0 = 1_715_126_400_000_000_000
MS = 10**6
LAST = 128
ES = "ES2406.GLBX"
type Side = Sequence[tuple[float, int]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def metadata(schema: str, start: int = NS0) -> bytes:
    interval = SimpleNamespace(start_date=dt.date(2024, 5, 1), end_date=dt.date(2024, 6, 1), symbol="17")
    mapping = SimpleNamespace(raw_symbol="ESM4", intervals=[interval])
    return dbn.Metadata(
        "GLBX.MDP3", start, dbn.SType.RAW_SYMBOL, dbn.SType.INSTRUMENT_ID, dbn.Schema.from_str(schema),
        symbols=["ESM4"], mappings=[mapping],
    ).encode()  # fmt: skip


def nano(price: float) -> int:
    return round(price * 1e9)


def record(
    schema: str,
    action: str,
    side: str,
    ms: int,
    price: float,
    size: int,
    flags: int = LAST,
    bids: Side = (),
    asks: Side = (),
    publisher: int = 1,
) -> bytes:
    """One record; the levels are those after it, as Databento shows them."""
    ts = NS0 + ms * MS
    act, by = dbn.Action.from_str(action), dbn.Side.from_str(side)
    if schema == "trades":
        return bytes(dbn.TradeMsg(publisher, 17, ts, nano(price), size, act, by, 0, ts + MS, flags=flags))
    kind, depth = (dbn.MBP10Msg, 10) if schema == "mbp-10" else (dbn.MBP1Msg, 1)
    levels = []
    for i in range(depth):
        bid = {"bid_px": nano(bids[i][0]), "bid_sz": bids[i][1]} if i < len(bids) else {}
        ask = {"ask_px": nano(asks[i][0]), "ask_sz": asks[i][1]} if i < len(asks) else {}
        levels.append(dbn.BidAskPair(**bid, **ask))
    return bytes(kind(publisher, 17, ts, nano(price), size, act, by, 0, ts + MS, flags=flags,
                      levels=levels if depth == 10 else levels[0]))  # fmt: skip


def written(path: Path, schema: str, *records: bytes, start: int = NS0) -> Path:
    data = metadata(schema, start) + b"".join(records)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


def shown() -> list[tuple[object, ...]]:
    """Events in ms since the start of the file."""
    return [
        (e["kind"], (e["ts_event"] - NS0) // MS, e["bids"], e["asks"]) if e["kind"] == "book"
        else (e["kind"], (e["ts_event"] - NS0) // MS, e["price"], e["lots"], e["aggressor"])
        for e in events(ES)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.dbn", "a.dbn.zst"])
def test_mbp10_is_a_book_of_ten_levels(home: Path, name: str) -> None:
    bids, asks = [(5000 - i / 4, i + 1) for i in range(10)], [(5001 + i / 4, i + 2) for i in range(10)]
    result = cmm(
        "import", written(home / name, "mbp-10", record("mbp-10", "A", "B", 0, 5000, 1, LAST, bids, asks)), "--json"
    )
    assert result.exit_code == 0, result.output
    assert '"depth":10' in result.stdout and '"levels":20' in result.stdout
    assert shown() == [("book", 0, [list(map(float, b)) for b in bids[:5]], [list(map(float, a)) for a in asks[:5]])]


def test_mbp1_a_trade_shows_the_book_before_it_and_an_event_ends_with_its_mark(home: Path) -> None:
    before, after = [(5000.0, 5)], [(4999.75, 9)]
    ask = [(5001.0, 4)]
    imported(
        written(
            home / "a.dbn", "mbp-1",
            record("mbp-1", "A", "B", 0, 5000, 5, LAST, before, ask),
            record("mbp-1", "T", "A", 10, 5000, 5, 0, before, ask),
            record("mbp-1", "C", "B", 10, 5000, 3, 0, [(5000.0, 2)], ask),
            record("mbp-1", "C", "B", 10, 5000, 2, LAST, after, ask),
        )
    )  # fmt: skip
    assert shown() == [
        ("book", 0, [[5000.0, 5.0]], [[5001.0, 4.0]]),
        ("trade", 10, 5000.0, 5, "sell"),
        ("book", 10, [[4999.75, 9.0]], [[5001.0, 4.0]]),
    ]


@pytest.mark.parametrize("mark", [("T", "B"), ("N", "N"), None])
def test_a_change_stands_at_its_own_time_whichever_record_bears_the_mark(
    home: Path, mark: tuple[str, str] | None
) -> None:
    bids, asks = [(5000.0, 5)], [(5001.0, 4)]
    end = [record("mbp-1", *mark, 10, 5001, 1, LAST, bids, [(5001.0, 3)])] if mark else []
    imported(
        written(
            home / "a.dbn", "mbp-1",
            record("mbp-1", "A", "B", 0, 5000, 5, LAST, bids, asks),
            record("mbp-1", "C", "A", 10, 5001, 1, 0, bids, [(5001.0, 3)]), *end,
            record("mbp-1", "C", "A", 900, 5001, 1, LAST, bids, [(5001.0, 2)]),
        )
    )  # fmt: skip
    books = [event for event in shown() if event[0] == "book"]
    assert books[1:] == [
        ("book", 10, [[5000.0, 5.0]], [[5001.0, 3.0]]),
        ("book", 900, [[5000.0, 5.0]], [[5001.0, 2.0]]),
    ]


def test_a_book_that_is_cleared_is_empty_at_once(home: Path) -> None:
    imported(
        written(
            home / "a.dbn", "mbp-1",
            record("mbp-1", "A", "B", 0, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)]),
            record("mbp-1", "R", "N", 10, 0, 0, 0),
            record("mbp-1", "A", "B", 900, 4999, 8, LAST, [(4999.0, 8)]),
        )
    )  # fmt: skip
    assert shown()[1:] == [("book", 10, [], []), ("book", 900, [[4999.0, 8.0]], [])]


def test_tbbo_is_the_quote_before_each_trade_and_the_trade(home: Path) -> None:
    imported(
        written(
            home / "a.dbn", "tbbo",
            record("tbbo", "T", "B", 0, 5001, 2, 0, [(5000.0, 5)], [(5001.0, 4)]),
            record("tbbo", "T", "N", 10, 5000.5, 1, LAST, [(5000.0, 5)], [(5001.0, 2)]),
        )
    )  # fmt: skip
    assert shown() == [
        ("book", 0, [[5000.0, 5.0]], [[5001.0, 4.0]]),
        ("trade", 0, 5001.0, 2, "buy"),
        ("book", 10, [[5000.0, 5.0]], [[5001.0, 2.0]]),
        ("trade", 10, 5000.5, 1, "none"),
    ]


def test_trades_alone_are_a_recording_that_cannot_be_traded(home: Path) -> None:
    path = written(
        home / "a.dbn", "trades", record("trades", "T", "B", 0, 5001, 2), record("trades", "T", "A", 9, 5000, 1)
    )
    assert imported(path) == {}
    assert trades(ES) == [(5001.0, 2, "buy"), (5000.0, 1, "sell")]
    result = cmm("inspect", ES, "--json")
    assert result.exit_code == 0, result.output
    assert '"verdict":"unusable"' in result.stdout and "no book" in result.stdout


def test_files_of_one_symbol_follow_each_other_and_other_schemas_stand_apart(home: Path) -> None:
    day = 86_400_000
    late = record("mbp-1", "A", "B", day, 5000, 6, LAST, [(5000.0, 6)], [(5001.0, 4)])
    early = record("mbp-1", "A", "B", 0, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)])
    first = written(home / "b.dbn", "mbp-1", early)
    second = written(home / "a.dbn", "mbp-1", late, start=NS0 + day * MS)
    imported(second, first)
    assert [event[2] for event in shown()] == [[[5000.0, 5.0]], [[5000.0, 6.0]]]
    refused(cmm("import", written(home / "t.dbn", "trades", record("trades", "T", "B", 500, 5001, 2))), "does not mix")


def test_off_tick_and_nothing_shown_are_counted(home: Path) -> None:
    good = record("mbp-1", "A", "B", 0, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)])
    off = record("mbp-1", "A", "B", 10, 5000, 5, LAST, [(5000.1, 5)], [(5001.0, 4)])
    odd = record("mbp-1", "T", "B", 20, 5000.1, 5, LAST, [(5000.0, 5)], [(5001.0, 4)])
    later = record("mbp-1", "A", "B", 30, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 6)])
    assert imported(written(home / "a.dbn", "mbp-1", good, off, odd, later, good)) == {"clock_back": 1, "off_tick": 2}
    assert all(event[2] == [[5000.0, 5.0]] for event in shown())


@pytest.mark.parametrize("schema", ["mbp-10", "mbp-1", "tbbo", "trades"])
@pytest.mark.parametrize("price", [-37.5, 0.0])
def test_prices_of_zero_or_below_are_refused(home: Path, schema: str, price: float) -> None:
    path = written(home / "a.dbn", schema, record(schema, "T", "B", 0, price, 3, LAST, [(price, 3)], [(5000, 1)]))
    refused(cmm("import", path), "zero or below")


@pytest.mark.parametrize("schema", ["ohlcv-1s", "bbo-1s", "definition"])
def test_other_schemas_are_refused_with_what_is_read(home: Path, schema: str) -> None:
    refused(cmm("import", written(home / "a.dbn", schema)), schema, "mbo, mbp-10, mbp-1, tbbo and trades")


def test_books_of_several_venues_in_one_are_refused(home: Path) -> None:
    rows = [record("mbp-1", "A", "B", 0, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)], publisher=p) for p in (1, 2)]
    refused(cmm("import", written(home / "a.dbn", "mbp-1", *rows)), "publisher")


@pytest.mark.parametrize("cut", [1, 40, 79, 81])
def test_a_file_that_ends_within_a_record_is_refused(home: Path, cut: int) -> None:
    rows = [record("mbp-1", "A", "B", ms, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)]) for ms in (0, 1)]
    path = written(home / "a.dbn", "mbp-1", *rows)
    path.write_bytes(path.read_bytes()[:-cut])
    refused(cmm("import", path), "ends within a record")


def test_a_record_of_another_length_is_refused(home: Path) -> None:
    row = bytearray(record("mbp-1", "A", "B", 0, 5000, 5, LAST, [(5000.0, 5)], [(5001.0, 4)]))
    row[0] = 8
    refused(cmm("import", written(home / "a.dbn", "mbp-1", bytes(row))), "not a sound DBN file")
