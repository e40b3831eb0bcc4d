"""OKX's history and captures: what each message means, contracts, older columns, what is left out."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.dirty import MS, T0, books, cmm, events, imported, last, refused, trades, write

SWAP, SPOT, DATED = "BTC-USDT-SWAP.OKX", "BTC-USDT.OKX", "BTC-USD-240927.OKX"
T = T0 // MS
BIDS, ASKS = [["64000.1", "248.89", "26"], ["64000.0", "2", "1"]], [["64000.2", "0.01", "1"], ["64000.3", "3.5", "2"]]
TRADES = "instrument_name,trade_id,side,price,size,created_time"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(ms: int, action: str, bids: Any = (), asks: Any = (), symbol: str = "BTC-USDT-SWAP") -> str:
    row = {"instId": symbol, "action": action, "ts": str(T + ms), "asks": asks, "bids": bids}
    return json.dumps(row, separators=(",", ":"))


def pushed(channel: str, action: str = "", symbol: str = "BTC-USDT-SWAP", **row: Any) -> str:
    at = row.pop("at", 0)
    message = {"arg": {"channel": channel, "instId": symbol}} | ({"action": action} if action else {})
    return f"{T0 + at * MS + MS} " + json.dumps(message | {"data": [{"ts": str(T + at), **row}]}, separators=(",", ":"))


def tarred(path: Path, *lines: str) -> Path:
    content = "\n".join(lines).encode()
    info = tarfile.TarInfo(path.name.replace(".tar.gz", ".data"))
    info.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.name.replace(".zip", ".csv"), content)
    return path


BOOK = [
    history(7, "snapshot", BIDS, ASKS),
    history(17, "update", [], [["64000.2", "0", "0"]]),
    history(17, "update", [["64000.2", "5", "1"]]),  # one change with the line before: the book never crosses
    history(27, "update", [["64000.1", "0", "0"]]),
]


def test_history_and_trades_are_one_recording_in_contracts(home: Path) -> None:
    book = tarred(home / "BTC-USDT-SWAP-L2orderbook-400lv-2024-07-19.tar.gz", *BOOK)
    rows = [TRADES + ",source", f"BTC-USDT-SWAP,1,buy,64000.2,0.01,{T + 16},0", f"BTC-USDT-SWAP,1,buy,64000.2,0.01,{T + 16},0",
            f"BTC-USDT-SWAP,2,sell,64000.1,30.14,{T + 20},1"]  # fmt: skip
    counts = imported(book, zipped(home / "BTC-USDT-SWAP-trades-2024-07-19.zip", "\n".join(rows).encode()))
    assert counts == {"duplicate_trade": 1}
    assert [(e["kind"], e["ts"] - T0) for e in events(SWAP)] == [
        ("book", 7 * MS), ("trade", 16 * MS), ("book", 17 * MS), ("trade", 20 * MS), ("book", 27 * MS),
    ]  # fmt: skip
    assert books(SWAP)[1][1:] == ([[64000.2, 5.0], [64000.1, 248.89], [64000.0, 2.0]], [[64000.3, 3.5]])
    assert last(SWAP) == ([[64000.2, 5.0], [64000.0, 2.0]], [[64000.3, 3.5]])
    assert trades(SWAP) == [(64000.2, 1, "buy"), (64000.1, 3014, "sell")]


def test_a_snapshot_in_between_replaces_the_book(home: Path) -> None:
    late = [
        history(900_000, "snapshot", [["63999.9", "1", "1"]], ASKS),
        history(900_010, "update", [["63999.9", "7", "2"]]),
    ]
    early = history(1, "update", [["1.0", "1", "1"]])
    assert imported(write(home / "a.data", early, *BOOK, *late)) == {"diff_before_snapshot": 1}
    assert last(SWAP)[0] == [[63999.9, 7.0]]


def test_older_columns_take_the_instrument_from_the_name(home: Path) -> None:
    header = "trade_id/撮合id,side/交易方向,size/数量,price/价格,created_time/成交时间"
    rows = [f"1,BUY,0.5,64000.2,{T}.0", f"2,sell,0.25,64000.1,{T + 9}"]
    for name, lines in (("BTC-USDT-trades-2024-07-18", [header, *rows]), ("BTC-USDT-trades-2024-07-19", rows)):
        imported(zipped(home / f"{name}.zip", "\n".join(lines).encode("gbk")))
        assert trades(SPOT) == [(64000.2, 50_000_000, "buy"), (64000.1, 25_000_000, "sell")]
    refused(cmm("import", write(home / "x.csv", "trade_id,side,size,price,created_time", *rows)), "say the instrument")


def test_aggregates_beside_the_trades_are_left(home: Path) -> None:
    rows = [TRADES, f"BTC-USDT-SWAP,2,buy,64000.2,0.03,{T + 9}"]
    each = [TRADES, f"BTC-USDT-SWAP,1,buy,64000.2,0.01,{T + 9}", f"BTC-USDT-SWAP,2,buy,64000.2,0.02,{T + 9}"]
    one, other = "BTC-USDT-SWAP-aggtrades-2024-07-19.csv", "BTC-USDT-SWAP-trades-2024-07-19.csv"
    result = cmm("import", write(home / one, *rows), write(home / other, *each))
    assert f"{one}: left out" in result.stdout
    assert [lots for _, lots, _ in trades(SWAP)] == [1, 2]


def test_trades_of_other_instruments_beside_a_book(home: Path) -> None:
    book = write(home / "a.data", *(line.replace("BTC-USDT-SWAP", "BTC-USD-240927") for line in BOOK))
    rows = [TRADES, f"BTC-USD-240927,1,buy,64000.2,1,{T + 9}", f"BTC-USD-241227,1,buy,65000.2,1,{T + 9}"]
    counts = imported(book, write(home / "BTC-USD-futureschain-trades-2024-07-19.csv", *rows))
    assert counts["other_instrument"] == 1
    assert trades(DATED) == [(64000.2, 10, "buy")]


def test_a_capture_of_the_socket(home: Path) -> None:
    lines = [
        f'{T0} {{"event":"subscribe","arg":{{"channel":"books","instId":"BTC-USDT-SWAP"}},"connId":"a4d3ae55"}}',
        pushed("books", "snapshot", bids=BIDS, asks=ASKS, seqId=100, prevSeqId=-1),
        pushed("bbo-tbt", bids=BIDS[:1], asks=ASKS[:1], seqId=100, at=1),
        pushed("books", "update", bids=[["64000.1", "7", "0", "1"]], asks=[], seqId=105, prevSeqId=100, at=10),
        pushed("books", "update", bids=[["64000.1", "9", "0", "1"]], asks=[], seqId=105, prevSeqId=100, at=11),
        pushed("trades", instId="BTC-USDT-SWAP", tradeId="9", px="64000.1", sz="3", side="sell", count="2", at=12),
        pushed("trades-all", instId="BTC-USDT-SWAP", tradeId="8", px="64000.1", sz="1", side="sell", at=12),
        pushed("books", "update", bids=[["64000.1", "0", "0", "0"]], asks=[], seqId=120, prevSeqId=110, at=20),
    ]
    assert imported(write(home / "a.txt", *lines)) == {
        "control_message": 1,
        "shallower_book": 1,
        "diff_older_than_snapshot": 1,
        "sequence_gap": 1,
        "aggregate_trade": 1,
    }
    assert [(e["kind"], e["ts"] - T0) for e in events(SWAP)] == [
        ("book", MS), ("book", 11 * MS), ("trade", 13 * MS), ("book", 21 * MS),
    ]  # fmt: skip
    assert last(SWAP)[0] == [[64000.0, 2.0]]


def test_five_levels_anew_with_each_message(home: Path) -> None:
    lines = [pushed("books5", bids=BIDS[: 2 - i], asks=ASKS, at=10 * i) for i in (0, 1)]
    imported(write(home / "a.txt", *lines))
    assert last(SWAP)[0] == [[64000.1, 248.89]]


def test_refusals(home: Path) -> None:
    refused(cmm("import", write(home / "a.data", *BOOK[1:])), "no snapshot")
    refused(
        cmm("import", write(home / "b.data", BOOK[0], BOOK[1].replace('"bids"', '"bid"'))), "line 2", "unexpected shape"
    )
    refused(cmm("import", write(home / "c.data", BOOK[0].replace("SWAP", "240927-60000-C"))), "no contract terms")
    rows = [TRADES, f"BTC-USDT-SWAP,1,long,64000.2,0.01,{T + 16}"]
    refused(cmm("import", write(home / "d.csv", *rows)), "line 2", "'side'", "buy or sell")
    with gzip.open(home / "e.data.gz", "wt") as file:
        file.write("\n".join(BOOK))
    imported(home / "e.data.gz")
