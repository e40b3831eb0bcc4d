"""Tardis: best quotes, and the names of every exchange."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dirty import T0, books, cmm, imported, last, refused, trades, write
from venues.recordings.loaders.tardis_names import venue_and_symbol

QUOTES = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
BOOK = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
BTC = "BTCUSDT-PERP.BINANCE"
US = T0 // 1_000
ROW = "binance-futures,BTCUSDT"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(kind: str) -> Path:
    return Path(f"binance-futures_{kind}_2024-07-19_BTCUSDT.csv")


def quote(us: int, ask: float, bid: float, size: str = "1") -> str:
    return f"{ROW},{US + us},{US + us + 5},2,{ask},{bid},{size}"


def test_best_quotes_and_trades_are_a_recording() -> None:
    quotes = write(named("quotes"), QUOTES, quote(0, 64000.1, 64000.0), f"{ROW},{US + 9},{US + 14},,,63999.9,3")
    prints = write(
        named("trades"), TRADES, f"{ROW},{US + 9},{US + 14},7,sell,64000,1", f"{ROW},{US + 9},{US + 14},7,sell,64000,1"
    )
    assert imported(quotes, prints) == {"duplicate_trade": 1}
    assert [book[1:] for book in books(BTC)] == [([[64000.0, 1.0]], [[64000.1, 2.0]]), ([[63999.9, 3.0]], [])]
    assert trades(BTC) == [(64000.0, 1000, "sell")]
    assert '"depth": 1' in next(Path().glob("data/manifest/*/*.json")).read_text()


def test_trades_alone_are_a_recording() -> None:
    rows = [f"{ROW},{US},{US + i},{i},buy,{price},{size}" for i, price, size in ((1, 64000, 1), (2, 64000.05, 1))]
    told = imported(write(named("trades"), TRADES, *rows, f"{ROW},{US},{US + 3},3,unknown,64000.1,0.5"))
    assert told == {"off_tick": 1}
    assert trades(BTC) == [(64000.0, 1000, "buy"), (64000.1, 500, "none")]
    assert books(BTC) == []


def test_of_several_books_the_one_that_tells_most_is_read() -> None:
    quotes = write(named("quotes"), QUOTES, quote(0, 64000.3, 64000.0))
    ticker = write(named("book_ticker"), QUOTES, quote(0, 64000.2, 64000.0))
    assert cmm("import", quotes, ticker, "--set", "data.path=best").exit_code == 0
    assert "64000.2" in cmm("events", BTC, "--set", "data.path=best").stdout
    rows = [f"{ROW},{US},{US},true,{side},{price},1" for side, price in (("bid", 64000), ("ask", 64000.1))]
    imported(quotes, ticker, write(named("incremental_book_L2"), BOOK, *rows))
    assert last(BTC) == ([[64000.0, 1.0]], [[64000.1, 1.0]])


def test_a_quote_that_is_no_number_is_refused_and_an_empty_day_is_skipped() -> None:
    refused(cmm("import", write(named("quotes"), QUOTES, quote(0, 64000.1, 64000.0, "x"))), "bid_amount", "line 2")
    full = write(Path("full.csv"), QUOTES, quote(0, 64000.1, 64000.0))
    result = cmm("import", write(named("quotes"), QUOTES), full)
    assert result.exit_code == 0 and "skipped" in result.stderr


@pytest.mark.parametrize(
    ("exchange", "symbol", "expected"),
    [
        ("binance", "BTCUSDT", "BTCUSDT.BINANCE"),
        ("binance-futures", "btcusdt", "BTCUSDT-PERP.BINANCE"),
        ("binance-futures", "BTCUSDT_240927", "BTCUSDT_240927.BINANCE"),
        ("binance-delivery", "BTCUSD_PERP", "BTCUSD_PERP.BINANCE"),
        ("binance-us", "BTCUSD", "BTCUSD.BINANCE_US"),
        ("bybit", "BTCUSDT", "BTCUSDT-LINEAR.BYBIT"),
        ("bybit", "BTCPERP", "BTCPERP-LINEAR.BYBIT"),
        ("bybit", "BTCUSD", "BTCUSD-INVERSE.BYBIT"),
        ("bybit", "BTCUSDH24", "BTCUSDH24-INVERSE.BYBIT"),
        ("bybit-spot", "BTCUSDT", "BTCUSDT-SPOT.BYBIT"),
        ("okex", "BTC-USDT", "BTC-USDT.OKX"),
        ("okex-swap", "BTC-USDT-SWAP", "BTC-USDT-SWAP.OKX"),
        ("okex-futures", "BTC-USD-240628", "BTC-USD-240628.OKX"),
        ("deribit", "BTC-PERPETUAL", "BTC-PERPETUAL.DERIBIT"),
        ("bitmex", "XBTUSD", "XBTUSD.BITMEX"),
        ("coinbase", "BTC-USD", "BTC-USD.COINBASE"),
        ("kraken", "XBT/USD", "XBT-USD.KRAKEN"),
        ("cryptofacilities", "PI_XBTUSD", "PI_XBTUSD.KRAKEN"),
        ("bitfinex-derivatives", "BTCF0:USTF0", "BTCF0-USTF0.BITFINEX"),
        ("ftx", "BTC-PERP", "BTC-PERP.FTX"),
        ("gate-io", "BTC_USDT", "BTC_USDT.GATE_IO"),
        ("gate-io-futures", "BTC_USDT", "BTC_USDT-PERP.GATE_IO"),
        ("gate-io-futures", "BTC_USDT_20240628", "BTC_USDT_20240628.GATE_IO"),
        ("huobi-dm-swap", "BTC-USD", "BTC-USD.HUOBI"),
        ("bitget-futures", "BTCUSDT", "BTCUSDT-PERP.BITGET"),
        ("hyperliquid", "BTC", "BTC-USD-PERP.HYPERLIQUID"),
        ("some-new-one", "A-B", "A-B.SOME_NEW_ONE"),
    ],
)  # fmt: skip
def test_every_exchange_has_a_name(exchange: str, symbol: str, expected: str) -> None:
    venue, name = venue_and_symbol(exchange, symbol)
    assert f"{name}.{venue}" == expected


def test_dollars_and_contracts_are_counted_in_lots() -> None:
    rows = [QUOTES, f"deribit,BTC-PERPETUAL,{US},{US},250,64000.5,64000,10"]
    imported(write(Path("d.csv"), *rows))
    assert last("BTC-PERPETUAL.DERIBIT") == ([[64000.0, 10.0]], [[64000.5, 250.0]])
    imported(write(Path("o.csv"), QUOTES, f"okex-swap,BTC-USDT-SWAP,{US},{US},1.25,64000.1,64000,3"))
    assert last("BTC-USDT-SWAP.OKX") == ([[64000.0, 3.0]], [[64000.1, 1.25]])


def test_where_there_are_no_terms_the_row_to_add_is_said() -> None:
    path = write(Path("k.csv"), QUOTES, f"kraken,XBT/USD,{US},{US},1,64000.1,64000.0,1")
    refused(cmm("import", path), "add a row {exchange: KRAKEN, product: XBT-USD", "data.contracts")
    row = "{exchange: KRAKEN, product: XBT-USD, kind: spot, currency: USD, base: XBT, tick: 0.1, lot: 0.00000001}"
    Path("mine.yaml").write_text(f"contracts:\n- {row}\n")
    assert cmm("import", path, "--set", "data.contracts=[mine.yaml]").exit_code == 0
