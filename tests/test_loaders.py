"""Loaders: every format, every trap that real recordings have shown, on small files."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, OrderUpdate, Trade
from tests.conftest import CTP_HEADER, ctp_file, ctp_row
from venues.recordings.loaders import LOADERS, detect, recordings
from venues.recordings.loaders.ctp_stream import split_interval
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms


def read(*paths: Path, contracts: ContractTable) -> tuple[list[Event], Counter[str]]:
    findings = Findings()
    (recording,) = recordings(list(paths))
    events = list(LOADERS[recording.format].events(recording, RecordingTerms(contracts), findings))
    return events, findings.total()


def books(events: list[Event]) -> list[BookUpdate]:
    return [e for e in events if isinstance(e, BookUpdate)]


def trades(events: list[Event]) -> list[Trade]:
    return [e for e in events if isinstance(e, Trade)]


# ── CTP ───────────────────────────────────────────────────────────────────────────────────────


def test_ctp_first_row_trades_nothing_then_volume_and_turnover_are_kept(
    tmp_path: Path, contracts: ContractTable
) -> None:
    paid = 3 * 5230.0 + 2 * 5230.2
    rows = [ctp_row(volume=240), ctp_row("09:30:01", 0, volume=245, turnover=240 * 5230.0 * 300 + paid * 300)]
    events, drops = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert [(t.price, t.size) for t in trades(events)] == [(26150, 3), (26151, 2)]
    assert not drops
    assert isinstance(events[-1], BookUpdate)  # trades come before the book that they led to
    assert books(events)[0].levels == [(BID, 26149, 3), (ASK, 26151, 4)]


def test_ctp_aggressor_shows_against_the_previous_quote(tmp_path: Path, contracts: ContractTable) -> None:
    rows = [
        ctp_row(volume=100, turnover=100 * 5230.0 * 300, bid=5229.8, ask=5230.2),
        ctp_row("09:30:01", 0, volume=101, turnover=(100 * 5230.0 + 5230.2) * 300, bid=5230.4, ask=5230.8),
        ctp_row("09:30:01", 500, volume=102, turnover=(100 * 5230.0 + 5230.2 + 5230.4) * 300, bid=5230.0, ask=5230.2),
    ]
    events, _ = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert [(t.price, t.aggressor) for t in trades(events)] == [(26151, BUY), (26152, SELL)]


@pytest.mark.parametrize("average", [26150.0, 26150.25, 26150.5, 26150.999])
def test_split_keeps_volume_and_turnover(average: float) -> None:
    parts = split_interval(average, 400)
    assert sum(n for _, n in parts) == 400
    assert sum(p * n for p, n in parts) == pytest.approx(average * 400, abs=0.5)


def test_ctp_traps_are_dropped_and_counted(tmp_path: Path, contracts: ContractTable) -> None:
    rows = [
        ctp_row("09:30:09", last=0, volume=0, turnover=0),  # warm-up, out of time order
        ctp_row("09:30:00", volume=100),
        ctp_row("09:30:00", 0, volume=100),  # half a second back: jitter
        ctp_row("09:30:20", volume=150),  # after a gap: when its volume traded is unknown
        ctp_row("09:30:21", volume=150, bid=5229.85),
        ctp_row("09:30:22", volume=150, bid=5230.2, ask=5230.2),
        ctp_row("09:30:23", volume=150, bid=0, ask=1.7976931348623157e308, sizes=(0, 0)),
        ctp_row("09:30:24", volume=140),
        ctp_row("09:30:25", volume=140, symbol="IF_Index"),
    ]
    events, drops = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert drops == Counter(
        warm_up=1,
        out_of_order=1,
        volume_across_gap=1,
        off_tick=1,
        crossed=1,
        no_quote=1,
        volume_fell=1,
        unknown_instrument=1,
    )
    assert not trades(events)


def test_ctp_a_stale_row_of_another_session_comes_first(tmp_path: Path, contracts: ContractTable) -> None:
    rows = [ctp_row("15:15:00"), ctp_row("09:29:00"), ctp_row("09:30:00")]
    events, drops = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert len(events) == 1
    assert drops == Counter(outside_session=2)


def test_ctp_missing_level_leaves_a_one_sided_book(tmp_path: Path, contracts: ContractTable) -> None:
    events, _ = read(ctp_file(tmp_path / "a.csv", [ctp_row(ask=0, sizes=(3, 0))]), contracts=contracts)
    assert books(events)[0].levels == [(BID, 26149, 3)]


def test_ctp_prices_that_are_off_by_rounding_are_on_tick(tmp_path: Path, contracts: ContractTable) -> None:
    row = ctp_row(symbol="rb2205", exchange="SHFE", bid=4775.000000000001, ask=4776.0, last=4776, turnover=1)
    events, drops = read(ctp_file(tmp_path / "a.csv", [row]), contracts=contracts)
    assert books(events)[0].levels[0] == (BID, 4775, 3)
    assert not drops


def test_ctp_night_ticks_belong_to_the_next_trading_day(tmp_path: Path, contracts: ContractTable) -> None:
    fixed = {"symbol": "ag2402", "exchange": "SHFE", "last": 6000, "bid": 6000, "ask": 6001}
    row = ctp_row("21:00:20", 0, day="20231204", action_day="20231201", turnover=1, **fixed)  # type: ignore[arg-type]
    (book,) = books(read(ctp_file(tmp_path / "a.csv", [row]), contracts=contracts)[0])
    assert book.day == 20231204
    assert dt.datetime.fromtimestamp(book.ts_recv / 1e9, dt.UTC) == dt.datetime(2023, 12, 1, 13, 0, 20, tzinfo=dt.UTC)


def test_ctp_dce_writes_the_trading_day_as_action_day_at_night(tmp_path: Path, contracts: ContractTable) -> None:
    fixed = {"symbol": "i2405", "exchange": "DCE", "last": 900, "bid": 900, "ask": 900.5}
    row = ctp_row("21:00:20", 0, day="20231204", action_day="20231204", turnover=1, **fixed)  # type: ignore[arg-type]
    (book,) = books(read(ctp_file(tmp_path / "a.csv", [row]), contracts=contracts)[0])
    assert dt.datetime.fromtimestamp(book.ts_recv / 1e9, dt.UTC).date() == dt.date(2023, 12, 1)


def test_ctp_czce_turnover_leaves_the_multiplier_out(tmp_path: Path, contracts: ContractTable) -> None:
    fixed = {"symbol": "TA205", "exchange": "CZCE", "last": 5400, "bid": 5398, "ask": 5400, "day": "20220218"}
    rows = [
        ctp_row("09:30:00", volume=100, turnover=100 * 5400, **fixed),  # type: ignore[arg-type]
        ctp_row("09:30:01", volume=110, turnover=110 * 5400, **fixed),  # type: ignore[arg-type]
    ]
    events, drops = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert [(t.price, t.size) for t in trades(events)] == [(2700, 10)]
    assert not drops


def test_ctp_turnover_that_tells_the_days_average_is_not_believed(tmp_path: Path, contracts: ContractTable) -> None:
    fixed = {"symbol": "TA205", "exchange": "CZCE", "last": 5400, "bid": 5398, "ask": 5400, "day": "20220218"}
    rows = [  # as CZCE.TA205 of 18 February 2022: turnover = volume x the day's average x 5
        ctp_row("09:30:00", volume=1000, turnover=1000 * 5338 * 5, **fixed),  # type: ignore[arg-type]
        ctp_row("09:30:01", volume=1010, turnover=1010 * 5338 * 5, **fixed),  # type: ignore[arg-type]
    ]
    events, drops = read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)
    assert [(t.price, t.size, t.aggressor) for t in trades(events)] == [(2700, 10, BUY)]
    assert drops == Counter(turnover_mismatch=1)


def test_ctp_unknown_aggressor_at_the_mid(tmp_path: Path, contracts: ContractTable) -> None:
    rows = [ctp_row(volume=100), ctp_row("09:30:01", 0, volume=101)]
    (trade,) = trades(read(ctp_file(tmp_path / "a.csv", rows), contracts=contracts)[0])
    assert trade.aggressor == NO_AGGRESSOR


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ctp_row("09:31:05", volume="many", turnover=1), "line 3, column 'Volume': 'many' is not a number"),
        (ctp_row("09:30:05", bid="nan"), "column 'BidPrice1'"),
        (ctp_row("9h30", volume=101), "column 'UpdateTime'"),
        (ctp_row("09:30:00", volume=101), "time runs backwards by 60"),
        (ctp_row("09:30:05") + ",1", "line 3: 14 fields where 13 are expected"),
    ],
)
def test_ctp_bad_rows_are_errors_that_say_where(row: str, says: str, tmp_path: Path, contracts: ContractTable) -> None:
    with pytest.raises(DataError, match=says):
        read(ctp_file(tmp_path / "a.csv", [ctp_row("09:31:00"), row]), contracts=contracts)


def test_files_of_one_instrument_and_day_are_one_recording(tmp_path: Path) -> None:
    day = ctp_file(tmp_path / "b_day.csv", [ctp_row()])
    night = ctp_file(tmp_path / "a_night.csv", [ctp_row("21:00:00", action_day="20210103")])
    other = ctp_file(tmp_path / "c.csv", [ctp_row(day="20210105")])
    assert [[p.name for p in r.files] for r in recordings([day, other, night])] == [
        ["a_night.csv", "b_day.csv"],
        ["c.csv"],
    ]


# ── Binance ───────────────────────────────────────────────────────────────────────────────────


class Capture:
    """Writes a raw USD-M capture line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ts = 1_721_347_200_000_000_000

    def add(self, stream: str | None, data: dict[str, object]) -> Capture:
        self.ts += 10_000_000
        body = data if stream is None else {"stream": f"btcusdt@{stream}", "data": data}
        self.lines.append(f"{self.ts} {json.dumps(body, separators=(',', ':'))}")
        return self

    def diff(self, first: int, last: int, previous: int, bids: list = (), asks: list = ()) -> Capture:  # type: ignore[type-arg,assignment]
        ms = self.ts // 10**6 + 1300
        data = {"e": "depthUpdate", "E": ms, "T": ms, "U": first, "u": last, "pu": previous, "b": bids, "a": asks}
        return self.add("depth@0ms", data)

    def snapshot(self, last: int) -> Capture:
        return self.add(None, {"lastUpdateId": last, "bids": [["100.0", "5"], ["99.9", "4"]], "asks": [["100.1", "6"]]})

    def quote(self, update: int, bid: str, ask: str) -> Capture:
        return self.add("bookTicker", {"u": update, "b": bid, "B": "1", "a": ask, "A": "2", "T": self.ts // 10**6})

    def trade(self, price: str, buyer_is_maker: bool, kind: str = "MARKET") -> Capture:
        ms = self.ts // 10**6
        return self.add("trade", {"E": ms, "T": ms, "p": price, "q": "0.5", "X": kind, "m": buyer_is_maker})

    def write(self, path: Path) -> Path:
        path.write_bytes(gzip.compress("\n".join(self.lines).encode()))
        return path


def test_binance_diffs_before_the_snapshot_are_replayed_after_it(tmp_path: Path, contracts: ContractTable) -> None:
    capture = Capture().diff(1, 5, 0, bids=[["99.0", "9"]]).diff(6, 9, 5, asks=[["100.1", "0"], ["100.2", "3"]])
    capture.snapshot(7).diff(10, 12, 9, bids=[["100.1", "1"]])
    events, drops = read(capture.write(tmp_path / "a.gz"), contracts=contracts)
    assert [e.levels for e in books(events)[1:]] == [[(ASK, 1001, 0), (ASK, 1002, 3000)], [(BID, 1001, 1000)]]
    assert drops == Counter(diff_older_than_snapshot=1)


def test_binance_gaps_in_the_sequence_are_counted(tmp_path: Path, contracts: ContractTable) -> None:
    capture = Capture().snapshot(10).diff(9, 12, 8, bids=[["100.0", "7"]]).diff(15, 16, 14, bids=[["100.0", "8"]])
    _, drops = read(capture.write(tmp_path / "a.gz"), contracts=contracts)
    assert drops == Counter(sequence_gap=1)


def test_binance_spot_diffs_chain_by_their_first_id(tmp_path: Path, contracts: ContractTable) -> None:
    capture = Capture().snapshot(10)
    for first, last in ((11, 12), (13, 14), (16, 17)):
        data = {"e": "depthUpdate", "E": capture.ts // 10**6, "U": first, "u": last, "b": [["100.00", "1"]], "a": []}
        capture.add("depth@100ms", data)
    events, drops = read(capture.write(tmp_path / "a.gz"), contracts=contracts)
    assert events[0].symbol == "BTCUSDT.BINANCE"
    assert drops == Counter(sequence_gap=1)


def test_binance_a_newer_quote_overrides_the_touch_until_a_diff_catches_up(
    tmp_path: Path, contracts: ContractTable
) -> None:
    capture = Capture().snapshot(10).quote(20, "99.9", "100.0")
    capture.diff(11, 15, 10, bids=[["100.0", "3"]])  # older than the quote: must not bring the old bid back
    capture.diff(16, 25, 15, bids=[["100.0", "8"]], asks=[["100.0", "0"]])
    events, _ = read(capture.write(tmp_path / "a.gz"), contracts=contracts)
    quote, stale, caught_up = books(events)[1:]
    assert quote.levels == [(BID, 1000, 0), (BID, 999, 1000), (ASK, 1000, 2000)]
    assert stale.levels[-1] == (BID, 1000, 0)
    assert caught_up.levels == [(BID, 1000, 8000), (ASK, 1000, 0)]


def test_binance_trades_tell_the_aggressor_and_skip_what_is_not_on_the_book(
    tmp_path: Path, contracts: ContractTable
) -> None:
    capture = Capture().diff(1, 2, 0).trade("100.1", False).snapshot(10).trade("100.1", False).trade("100.0", True)
    events, drops = read(capture.trade("90.0", True, "INSURANCE_FUND").write(tmp_path / "a.gz"), contracts=contracts)
    assert [(t.price, t.size, t.aggressor) for t in trades(events)] == [(1001, 500, BUY), (1000, 500, SELL)]
    assert drops["trade_before_snapshot"] == drops["trade_not_on_book"] == 1


def test_binance_two_captures_of_a_symbol_join(tmp_path: Path, contracts: ContractTable) -> None:
    first = Capture().snapshot(10).diff(11, 12, 10, bids=[["100.0", "7"]])
    second = Capture()
    second.ts = first.ts + 10**12
    second.diff(13, 14, 12, bids=[["100.0", "8"]])
    paths = [second.write(tmp_path / "a.gz"), first.write(tmp_path / "b.gz")]
    events, drops = read(*paths, contracts=contracts)
    assert len(books(events)) == 3
    assert not drops


def test_binance_a_capture_without_a_snapshot_says_what_is_missing(tmp_path: Path, contracts: ContractTable) -> None:
    path = Capture().diff(1, 2, 0, bids=[["100.0", "1"]]).write(tmp_path / "a.gz")
    with pytest.raises(DataError, match="no book snapshot"):
        read(path, contracts=contracts)


def test_binance_sizes_below_a_lot_are_rounded_and_counted(tmp_path: Path, contracts: ContractTable) -> None:
    capture = Capture().snapshot(10).diff(11, 12, 10, bids=[["99.0", "2.0004"]])
    events, drops = read(capture.write(tmp_path / "a.gz"), contracts=contracts)
    assert books(events)[-1].levels == [(BID, 990, 2000)]
    assert drops == Counter(size_rounded_to_lot=1)


# ── the others ────────────────────────────────────────────────────────────────────────────────


def test_coinbase_side_of_a_match_is_the_makers(tmp_path: Path, contracts: ContractTable) -> None:
    files = {
        "snapshot_bids": "side,price,size\nbuy,100.00,1\n",
        "snapshot_asks": "side,price,size\nsell,100.01,2\nsell,9999999999,0.02839242\n",
        "l2update": "side,price,size,time\nbuy,100.00,0.5,2018-04-17T00:55:04.358Z\nsell,100.01,0,2018-04-17T00:55:04.358Z\n",
        "match": "maker_order_id,price,product_id,side,size,time\nx,100.00,BTC-USD,buy,0.5,2018-04-17T00:55:04.358000Z\n",
    }
    for part, text in files.items():
        (tmp_path / f"a_{part}.csv").write_text(text)
    events, _ = read(tmp_path / "a_l2update.csv", contracts=contracts)  # the others are found beside it
    kinds = [type(e).__name__ for e in events]
    assert kinds == ["BookUpdate", "Trade", "BookUpdate"]
    assert trades(events)[0].aggressor == SELL
    assert books(events)[1].levels == [(BID, 10000, 50_000_000), (ASK, 10001, 0)]


def test_bitstamp_trades_are_read_off_the_resting_orders(tmp_path: Path, contracts: ContractTable) -> None:
    rows = [
        "id,timestamp,exchange.timestamp,price,volume,action,direction",
        "1,1430438401000,1430438401000,236.50,500000000,created,ask",
        "2,1430438402000,1430438402000,236.50,200000000,created,bid",  # a taker
        "1,1430438402001,1430438402000,236.50,300000000,changed,ask",
        "2,1430438402002,1430438402000,236.50,0,deleted,bid",
        "1,1430438403000,1430438403000,236.50,300000000,deleted,ask",  # cancelled, not matched
        "9,1430438403001,1430438403000,236.50,300000000,deleted,ask",
    ]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(rows) + "\n")
    events, drops = read(path, contracts=contracts)
    assert [(t.price, t.size, t.aggressor) for t in trades(events)] == [(23650, 200_000_000, BUY)]
    assert drops == Counter(unknown_order=1)
    assert all(isinstance(e, OrderUpdate | Trade) for e in events)


def test_lobster_rows_pair_up_and_empty_levels_are_left_out(tmp_path: Path, contracts: ContractTable) -> None:
    (tmp_path / "AAPL_2012-06-21_34200000_57600000_message_2.csv").write_text(
        "34200.004241176,1,1,18,5853300,1\n34200.5,4,1,10,5853300,1\n"
    )
    book = "5859400,200,5853300,18,9999999999,0,-9999999999,0\n5859400,200,5853300,8,9999999999,0,-9999999999,0\n"
    (tmp_path / "AAPL_2012-06-21_34200000_57600000_orderbook_2.csv").write_text(book)
    events, _ = read(*tmp_path.glob("*.csv"), contracts=contracts)
    assert [(t.price, t.size, t.aggressor) for t in trades(events)] == [(58533, 10, SELL)]
    assert books(events)[-1].levels == [(ASK, 58594, 200), (BID, 58533, 8)]
    (tmp_path / "AAPL_2012-06-21_34200000_57600000_orderbook_2.csv").write_text(book.split("\n", 1)[0] + "\n")
    with pytest.raises(DataError, match="fewer rows"):
        read(*tmp_path.glob("*.csv"), contracts=contracts)


TARDIS = "exchange,symbol,timestamp,local_timestamp"


def test_tardis_incremental_books_and_trades_merge_by_arrival(tmp_path: Path, contracts: ContractTable) -> None:
    (tmp_path / "book.csv").write_text(
        f"{TARDIS},is_snapshot,side,price,amount\n"
        "binance,BTCUSDT,1700000000000000,1700000000000100,false,bid,99.00,1\n"
        "binance,BTCUSDT,1700000000000000,1700000000000200,true,bid,100.00,1\n"
        "binance,BTCUSDT,1700000000000000,1700000000000200,true,ask,100.01,2\n"
        "binance,BTCUSDT,1700000000000000,1700000000000300,false,bid,100.00,0\n"
    )
    (tmp_path / "trades.csv").write_text(
        f"{TARDIS},id,side,price,amount\nbinance,BTCUSDT,1700000000000000,1700000000000250,7,sell,100.00,0.5\n"
    )
    events, drops = read(*tmp_path.glob("*.csv"), contracts=contracts)
    assert [type(e).__name__ for e in events] == ["BookUpdate", "Trade", "BookUpdate"]
    assert books(events)[0].snapshot
    assert len(books(events)[0].levels) == 2
    assert trades(events)[0].aggressor == SELL
    assert drops == Counter(diff_before_snapshot=1)


def test_tardis_snapshots_know_their_depth(tmp_path: Path, contracts: ContractTable) -> None:
    path = tmp_path / "snap.csv"
    path.write_text(
        f"{TARDIS},asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price,asks[1].amount,bids[1].price,bids[1].amount\n"
        "binance-futures,BTCUSDT,1598918403696000,1598918403810979,11657.08,1.714,11657.07,10.896,,,,\n"
    )
    (book,) = books(read(path, contracts=contracts)[0])
    assert (book.depth, book.levels) == (2, [(ASK, 1165708, 1714), (BID, 1165707, 10896)])
    assert book.ts_recv - book.ts_event == 114_979_000


def test_sgx_blocks(tmp_path: Path, contracts: ContractTable) -> None:
    path = tmp_path / "sgx.csv"
    path.write_text(
        "Bid,Bid_Quantity,Ask,Ask_Quantity\nTimeStamp,2014-01-09D09:45:00.130972200\n680000.0,10.0,680500.0,19.0\n"
        "679500.0,5.0,681000.0,3.0\nTimeStamp,2014-01-09D09:45:01.0\n681000.0,10.0,680500.0,19.0\n"
    )
    events, drops = read(path, contracts=contracts)
    assert books(events)[0].levels[:2] == [(BID, 1360, 10), (ASK, 1361, 19)]
    assert books(events)[0].ts_recv % 10**9 == 130_972_200
    assert drops == Counter(crossed=1)


# ── all ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "no such file"),
        ("empty.csv", b"", "empty"),
        ("odd.csv", b"a,b,c\n1,2,3\n", "no known recording format"),
        (
            "cut.csv.gz",
            gzip.compress("\n".join([CTP_HEADER, *[ctp_row()] * 9999]).encode())[:-20],
            "truncated or damaged",
        ),
    ],
)
def test_unusable_files_say_what_is_wrong(
    name: str, content: bytes | None, says: str, tmp_path: Path, contracts: ContractTable
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read(path, contracts=contracts)


def test_every_format_is_found_by_content(recordings_folder: Path) -> None:
    expected = {
        "ctp": "ctp", "binance": "binance", "coinbase": "coinbase", "bitstamp": "bitstamp", "sgx": "sgx",
        "databento": "databento", "lobster": "lobster", "tardis": "tardis", "sse": "shanghai",
    }  # fmt: skip
    for folder, name in expected.items():
        for path in (recordings_folder / folder).iterdir():
            assert detect(path).name == name, path
