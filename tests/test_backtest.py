"""Backtests on a simulated day: determinism, identity, limits, fees, failures that end the run."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.backtest.dataset_recorder import record_day
from engine.backtest.episode import Episode
from engine.backtest.metrics import METRICS, Markout
from engine.backtest.nautilus_lane import run_day
from engine.backtest.run_record import fills_sha256
from engine.backtest.run_recorder import Fill, RunRecorder
from engine.config import SHIPPED, Config
from engine.plan import Plan
from market.contracts import ContractTable, Fees
from market.events import ASK, BID
from models.features import dataset
from models.features.book_features import BookFeatures
from models.features.labels import normalised
from strategies.limits import LimitsConfig
from strategies.maker import MarketMaker
from strategies.quoters import FoicQuoter
from strategies.values import Ladder, Market
from strategies.working import WorkingOrders
from venues.recordings import day_writer
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.recordings.simulator import simulate
from venues.simulation.fees import FeeSchedule
from venues.simulation.hosted import SimulatedGateway
from venues.simulation.matcher import Matcher

CONFIG = Config()


def metric(name: str, episode: Episode) -> float | None:
    return next(m for m in METRICS if m.name == name).compute([episode])


@pytest.fixture(scope="module")
def traded(sim: tuple[Catalog, Day]) -> Episode:
    return run_day(*sim, Plan(CONFIG, "cmm", SHIPPED, None))


def test_cmm_trades_and_its_pnl_is_explained(traded: Episode) -> None:
    traded.check_identity()
    b = traded.breakdown
    assert len(traded.recorder.fills) > 10
    assert b.net == pytest.approx(b.spread_capture + b.drift - b.fees + b.rebates, abs=0.5)
    assert traded.equity[-1] == pytest.approx(b.net, abs=0.5)  # two ways to the same money
    assert traded.counts["book_updates"] > 5_000
    assert 0 < (metric("actions_per_update", traded) or 0) < 4


def test_the_same_run_gives_the_same_fills(sim: tuple[Catalog, Day], traded: Episode) -> None:
    again = run_day(*sim, Plan(CONFIG, "cmm", SHIPPED, None))
    assert fills_sha256(again.recorder) == fills_sha256(traded.recorder)
    assert again.recorder.actions == traded.recorder.actions
    np.testing.assert_array_equal(again.recorder.forecasts, traded.recorder.forecasts)


def test_chunks_change_nothing(
    sim: tuple[Catalog, Day], traded: Episode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same market in many catalog files, loaded one after the other."""
    day = sim[1]
    split = Catalog(tmp_path / "data", ContractTable())
    monkeypatch.setattr(day_writer, "CHUNK", 2_000)
    import_events(split, simulate(5, 480.0, day.start_ns), "sim", "simulator", [], Counter(), lambda *_: None)
    again = run_day(split, split.day(day.instrument, day.date), Plan(CONFIG, "cmm", SHIPPED, None))
    assert len(list(split.chunks(day))) > 4
    assert fills_sha256(again.recorder) == fills_sha256(traded.recorder)


@pytest.mark.parametrize("quoter", ["foic", "liic", "ltiic", "as", "glft"])
def test_baselines_trade_within_limits(sim: tuple[Catalog, Day], quoter: str) -> None:
    config = msgspec.structs.replace(CONFIG, limits=LimitsConfig(max_position_lots=4))
    episode = run_day(*sim, Plan(config, quoter, None, (0.9, 0.6)))  # type: ignore[arg-type]
    episode.check_identity()
    assert sum(episode.recorder.actions) > 0
    assert (metric("max_position_lots", episode) or 0) <= 4
    assert np.abs(episode.position).max() <= 4


class BoomError(Exception):
    pass


def test_an_exception_in_a_callback_ends_the_run(sim: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fail_later(self: FoicQuoter, *args: object) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls == 50:
            raise BoomError("in a callback")
        return 9_000.0, 11_000.0

    monkeypatch.setattr(FoicQuoter, "best", fail_later)
    with pytest.raises(BoomError):
        run_day(*sim, Plan(CONFIG, "foic", None, None))
    assert calls == 50  # nothing was decided after it


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        pytest.param(SimulatedGateway, "_deliver", id="on_trade"),
        pytest.param(Matcher, "on_trade", id="fill model"),
        pytest.param(MarketMaker, "is_open", id="timer"),
        pytest.param(RunRecorder, "on_fill", id="on_order_filled"),
        pytest.param(WorkingOrders, "accepted", id="on_order_accepted"),
        pytest.param(WorkingOrders, "gone", id="on_order_canceled"),
    ],
)
def test_an_exception_anywhere_ends_the_run(
    sim: tuple[Catalog, Day], owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, _boom)
    with pytest.raises(BoomError):
        run_day(*sim, Plan(CONFIG, "liic", None, None))


def _boom(*args: object) -> None:
    raise BoomError


def test_a_forecast_that_is_not_finite_pulls_the_quotes(
    sim: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = BookFeatures.on_book

    def poisoned(self: BookFeatures, *args: object) -> bool:
        ready = real(self, *args)  # type: ignore[arg-type]
        if self.spec is not None and self.moments.scalars[0] % 1e11 < 3e10:
            self.vector[:] = np.nan
        return ready

    monkeypatch.setattr(BookFeatures, "on_book", poisoned)
    monkeypatch.setattr(BookFeatures, "sigma_ticks", property(lambda self: 3.0))
    episode = run_day(*sim, Plan(CONFIG, "cmm", SHIPPED, None))
    assert episode.counts["model_not_finite"] > 0
    assert np.isnan(episode.recorder.forecasts[:, 0]).any()


# ── episodes, fees, metrics with known answers ────────────────────────────────────────────────

CONTRACT = ContractTable().by_id("QR.SIM")  # 10 a tick and lot


def hand_made(fills: list[Fill], mids: list[float], net: float) -> Episode:
    recorder = RunRecorder()
    for i, mid in enumerate(mids):
        market = Market(round(mid - 0.5), round(mid + 0.5), 1.0, 5.0, 0.0, 1)
        recorder.on_update(i * 10**9, market, 0, None, Ladder(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)))
    recorder.fills = fills
    return Episode(dt.date(2020, 1, 1), CONTRACT, recorder, net, {"book_updates": len(mids)}, 1.0)


def test_identity_and_metrics_of_a_hand_made_episode() -> None:
    fills = [
        Fill(int(0.5e9), BID, 100, 2, True, False, 1.0),  # mid 100.5: captures 0.5 x 2
        Fill(int(2.5e9), ASK, 103, 1, True, True, -0.25),  # mid 102.5: captures 0.5
    ]
    episode = hand_made(fills, [100.5, 101.5, 102.5, 101.5], net=0.0)
    capture, drift = (0.5 * 2 + 0.5) * 10, (2 * 1 + 2 * 1 + 1 * -1) * 10
    explained = capture + drift - 1.0 + 0.25
    episode = hand_made(fills, [100.5, 101.5, 102.5, 101.5], net=explained)
    b = episode.breakdown
    assert (b.spread_capture, b.drift, b.fees, b.rebates) == (capture, drift, 1.0, 0.25)
    assert b.unexplained == pytest.approx(0.0)
    episode.check_identity()
    assert metric("map_lots", episode) == pytest.approx((2 + 2 + 1) / 3)
    assert metric("pnlmap", episode) == pytest.approx(explained / (5 / 3))
    assert metric("blind_fill_share", episode) == pytest.approx(1 / 3)
    assert metric("max_position_lots", episode) == 2
    assert Markout(1.0).compute([episode]) == pytest.approx(1.5)  # the second fill's second lies past the end
    episode.venue_net = explained + 5.0
    del episode.__dict__["breakdown"]
    with pytest.raises(RuntimeError, match="unexplained"):
        episode.check_identity()


def test_closing_today_costs_what_the_exchange_charges() -> None:
    contract = ContractTable().by_id("IF2101.CFFEX")
    schedule = FeeSchedule(contract, contract.terms.fees)
    notional = 26_000 * 60.0
    assert schedule.charge(BID, 26_000, 2, is_maker=True) == pytest.approx(2 * 2.3e-5 * notional)
    assert schedule.charge(ASK, 26_000, 3, is_maker=True) == pytest.approx((2 * 3.45e-4 + 1 * 2.3e-5) * notional)
    assert FeeSchedule(contract, contract.terms.fees).break_even_ticks(26_000) == pytest.approx(0.5 * 3.68e-4 * 26_000)
    assert FeeSchedule(contract, Fees(maker=-2e-5)).charge(BID, 26_000, 1, is_maker=True) == pytest.approx(
        -2e-5 * notional
    )


# ── datasets and the simulator ────────────────────────────────────────────────────────────────


def test_recording_is_repeatable_and_purged_splits_do_not_overlap(sim: tuple[Catalog, Day]) -> None:
    path, counts = record_day(*sim, CONFIG)
    assert counts["rows"] > 2_000
    assert record_day(*sim, CONFIG) == (path, {})
    data = dataset.load([path])
    assert len(data) == counts["rows"]
    cut = int(data.ts_ns[len(data) // 2])
    before, after = data.before(cut), data.since(cut)
    assert before.ts_ns[-1] + 5 * 10**9 < after.ts_ns[0]
    first = path.read_bytes()
    path.unlink()
    record_day(*sim, CONFIG)
    assert path.read_bytes() == first


def test_simulated_book_predicts_a_little_and_never_crosses(sim: tuple[Catalog, Day]) -> None:
    catalog, day = sim
    assert day.crossed == 0
    data = dataset.load([record_day(catalog, day, CONFIG)[0]])
    names = list(data.spec.names)
    move = normalised(data)[:, 0]
    for name in ("imbalance_1", "signed_share_3s"):
        assert 0.03 < np.corrcoef(data.features[:, names.index(name)], move)[0, 1] < 0.6
    assert set(np.unique(data.regime)) == {0, 1, 2}


def test_the_simulator_repeats_itself_for_a_seed() -> None:
    first, second, other = (list(simulate(seed, 30.0, 10**18)) for seed in (1, 1, 2))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert first != other
