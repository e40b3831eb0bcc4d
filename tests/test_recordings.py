"""Real recordings from end to end; skipped where they are missing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.backtest.dataset_recorder import record_day
from engine.backtest.nautilus_lane import run_day
from engine.cli.main import main
from engine.config import SHIPPED, Config
from engine.plan import Plan
from market.contracts import ContractTable
from market.events import OrderUpdate, Trade
from models.features import dataset
from venues.recordings.catalog import Catalog
from venues.recordings.importer import Imported, import_recording
from venues.recordings.loaders import LOADERS, recordings
from venues.recordings.loaders.findings import Findings
from venues.recordings.quality import measure
from venues.recordings.terms import RecordingTerms


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return Catalog(tmp_path_factory.mktemp("real") / "data", ContractTable())


def do_import(catalog: Catalog, *paths: Path) -> list[Imported]:
    return [import_recording(catalog, recording, lambda *_: None) for recording in recordings(list(paths))]


def test_an_if_day_trades_from_import_to_pnl(catalog: Catalog, recordings_folder: Path) -> None:
    (done,) = do_import(catalog, recordings_folder / "ctp" / "CFFEX.IF2101.20210108.csv.gz")
    (day,) = done.days
    assert (day.book_updates, day.depth, day.crossed) == (28_391, 1, 0)
    assert done.drops == {"outside_session": 3, "volume_across_gap": 1}
    quality, _ = measure(catalog, day)
    assert 2 < (quality.spread_ticks_mean or 0) < 4
    assert quality.covered_s == pytest.approx(4 * 3600, abs=2)
    data = dataset.load([record_day(catalog, day, Config())[0]])
    assert len(data) > 28_000
    episode = run_day(catalog, day, Plan(Config(), "cmm", SHIPPED, None))
    episode.check_identity()
    assert len(episode.recorder.fills) > 50


def test_binance_captures_join_and_trade(catalog: Catalog, recordings_folder: Path) -> None:
    (done,) = do_import(catalog, *(recordings_folder / "binance").glob("usdm_btcusdt_202407*.gz"))
    first, second = done.days
    assert (first.date, second.date) == (dt.date(2024, 7, 18), dt.date(2024, 7, 19))
    assert "sequence_gap" not in done.drops
    assert (first.crossed, second.crossed) == (0, 0)
    quality, series = measure(catalog, second)
    assert 1 <= (quality.spread_ticks_mean or 0) < 3
    assert 55_000 < series.mid[0] * 0.1 < 75_000
    # best quotes tell of a sweep before its trades are printed: many prints lie outside the new touch
    assert quality.trades_outside_spread / quality.trades < 0.5
    config = Config()
    episode = run_day(catalog, second, Plan(config, "foic", None, None))
    episode.check_identity()
    assert len(episode.recorder.fills) > 100


@pytest.mark.parametrize(
    ("pattern", "instrument", "updates", "trades"),
    [
        ("ctp/SHFE.rb2205.*", "rb2205.SHFE", 3_282, 5_215),
        ("ctp/CZCE.TA205.*", "TA205.CZCE", 3_148, 2_680),
        ("ctp/tqsdk_*", "cu1909.SHFE", 200, 11),
        ("binance/spot_btcusdt_*", "BTCUSDT.BINANCE", 79_665, 19_903),
        ("coinbase/*", "BTC-USD.COINBASE", 17_718, 256),
        ("bitstamp/*", "BTCUSD.BITSTAMP", 49_342, 520),
        ("lobster/*", "AAPL.NASDAQ", 999, 159),
        ("databento/esh4*", "ES2403.GLBX", 46_975, 2_973),
        ("sgx/*", "CN.SGX", 26_611, 0),
        ("sse/SSE.600961.*", "600961.SSE", 49_154, 28_520),
    ],
)
def test_every_kind_of_recording_imports(
    pattern: str, instrument: str, updates: int, trades: int, catalog: Catalog, recordings_folder: Path
) -> None:
    (done,) = do_import(catalog, *recordings_folder.glob(pattern))
    assert {day.instrument for day in done.days} == {instrument}
    assert sum(day.book_updates for day in done.days) == updates
    assert sum(day.trades for day in done.days) == trades
    assert sum(day.crossed for day in done.days) == 0


def test_a_shanghai_day_is_whole_and_equals_the_vendors_snapshots(
    catalog: Catalog, recordings_folder: Path, tmp_path: Path
) -> None:
    """Each delete and trade finds its order, and all 4,847 snapshots show the ten levels that orders make."""
    paths = list((recordings_folder / "sse").glob("SSE.600519.*"))
    (done,) = do_import(catalog, *paths)
    (day,) = done.days
    assert (day.book_updates, day.trades, day.crossed, day.orders) == (72_399, 26_572, 0, True)
    assert done.drops == {"auction_trade": 563, "closing_auction": 501, "waited_for_sequence": 7_768}
    assert not day.notes
    (again,) = do_import(Catalog(tmp_path / "again", ContractTable()), *paths)
    assert again.days[0].sha256 == day.sha256


@pytest.mark.parametrize("stock", ["600536", "600961", "605580"])
def test_each_shanghai_trade_takes_from_the_first_order_of_its_level(stock: str, recordings_folder: Path) -> None:
    """Price, then time: the exchange's rule holds for every trade of a day, so the queues are the true ones."""
    (recording,) = recordings(list((recordings_folder / "sse").glob(f"SSE.{stock}.*")))
    orders: dict[int, tuple[int, int, int]] = {}
    queues: dict[tuple[int, int], dict[int, None]] = {}
    trades: list[Trade] = []
    count = 0
    for event in LOADERS["shanghai"].events(recording, RecordingTerms(ContractTable()), Findings()):
        if isinstance(event, Trade):
            trades.append(event)
            continue
        assert isinstance(event, OrderUpdate)
        queue = queues.setdefault((event.side, event.price), {})
        if trades and event.order_id in orders:
            trade = trades.pop(0)
            taken = orders[event.order_id][2] - event.size
            assert (trade.price, trade.size, event.order_id) == (event.price, taken, next(iter(queue)))
            count += 1
        if event.size:
            orders[event.order_id] = (event.side, event.price, event.size)
            queue[event.order_id] = None
        else:
            del orders[event.order_id], queue[event.order_id]
        assert not (trades and event.last)
    assert count > 15_000


def test_many_instruments_in_one_night_file(catalog: Catalog, recordings_folder: Path) -> None:
    (done,) = do_import(catalog, *(recordings_folder / "ctp").glob("pandora_*"))
    assert len({day.instrument for day in done.days}) > 150
    assert {day.date for day in done.days} == {dt.date(2023, 12, 4)}
    assert done.drops["unknown_instrument"] == 6  # the index pseudo-contracts


def test_tardis_sample_needs_a_catalog_of_its_own(recordings_folder: Path, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "old", ContractTable())
    (done,) = do_import(catalog, *(recordings_folder / "tardis").glob("*.csv"))
    assert [(d.instrument, d.tick, d.book_updates, d.depth) for d in done.days] == [
        ("BTCUSDT-PERP.BINANCE", "0.01", 10, 25)
    ]


@pytest.mark.parametrize(
    ("files", "instrument", "markout"),
    [
        ("databento/esh4-*", "ES2403.GLBX", 0.1),
        ("bitstamp/*", "BTCUSD.BITSTAMP", 1.0),
        ("sse/SSE.600961.*", "600961.SSE", 0.1),
    ],
)
def test_the_calibrated_queue_is_right_on_held_back_time(
    recordings_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: str,
    instrument: str,
    markout: float,
) -> None:
    """Bitstamp's ticks are a cent of 230 dollars: its markouts spread over tens of them."""
    monkeypatch.chdir(tmp_path)
    catalog = Catalog(tmp_path / "data", ContractTable())
    do_import(catalog, *recordings_folder.glob(files))
    result = CliRunner().invoke(main, ["calibrate", "--instrument", instrument, "--json"])
    found = json.loads(result.stdout)
    truth = found["calibrated"]["fill_rate_true"]
    assert 0.02 < truth < 0.6
    assert abs(found["calibrated"]["fill_rate_bias"]) < 0.02
    assert abs(found["calibrated"]["markout_bias_ticks"]) < markout
    assert found["n"]["low"] < found["n"]["value"] < found["n"]["high"]
    models = found["models"]
    assert models["pessimistic"]["fill_rate"] <= models["calibrated"]["fill_rate"] <= models["optimistic"]["fill_rate"]
    saved = json.loads((tmp_path / "data" / "calibration" / f"{instrument}.json").read_text())
    assert saved == found
