"""The market's path is to the bit what a maker sees that lives through the recording."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backtest.nautilus_lane import run_day
from engine.config import SHIPPED, Config
from engine.plan import Plan
from market.columns import BOOK, TRADE, Columns
from models.ensemble.market_path import Lessons, MarketPath, Walk
from models.ensemble.predictor import Forecast, Predictor
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.features.book_features import BookFeatures
from strategies.maker import MarketMaker
from tests.columns_of import columns_of, columns_of_day
from tests.test_market_pass import BID, T0, change, stamped
from venues.recordings.catalog import Catalog, Day
from venues.simulation.queues import QueueConfig

MOVING = RecalibrateConfig(enabled=True, half_life_s=60, sample_s=0.2, every_s=5)
NONE = np.full(4, np.nan, np.float32)


def bits(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def joined(walk: Walk) -> MarketPath:
    return MarketPath._make(np.concatenate(arrays) for arrays in zip(*walk, strict=True))


def lived(columns: Columns, predictor: Predictor, usable: np.ndarray, least: float) -> MarketPath:
    """The same, one event after another as the maker takes them."""
    f, r, seen = BookFeatures(predictor.manifest.spec), predictor.recalibrator, []
    f.vector = predictor.features[0]
    if r is not None:
        r.start()
    for e in range(len(columns.kind)):
        rows = slice(columns.first[e], columns.first[e + 1])
        ts, table = int(columns.ts[e]), np.stack([columns.side[rows], columns.price[rows], columns.size[rows]], 1)
        if columns.kind[e] == TRADE:
            side, price, lots = table[0].tolist()
            f.on_trade(ts, price, lots, side)
            if r is not None:
                r.on_trade(ts, price, lots, side)
            continue
        ready = f.on_book(ts, table.astype(np.int64), len(table), bool(columns.clear[e]))
        if r is not None:
            r.on_book(ts, f.bid_ticks, f.ask_ticks, f.is_sound)
        forecast = predictor.predict() if ready else None
        if usable[len(seen)] and forecast is not None and forecast.confidence >= least:
            predictor.remember(ts, f.regime)
        said = NONE if forecast is None else np.array(forecast, np.float32)
        seen.append((ready, f.sigma_ticks, f.trend_ticks(2), f.regime, int(predictor.outside().sum()), said))
    kinds = (np.bool_, np.float64, np.float64, np.int8, np.int16, np.float32)
    return MarketPath._make(np.array(values, kind) for values, kind in zip(zip(*seen, strict=True), kinds, strict=True))


def assert_same(one: MarketPath, other: MarketPath) -> None:
    for name, a, b in zip(MarketPath._fields, one, other, strict=True):
        assert bits(a) == bits(b), name


@pytest.mark.parametrize("recalibrate", [None, MOVING])
def test_a_simulated_day_is_what_a_maker_sees(
    brief: tuple[Catalog, Day], recalibrate: RecalibrateConfig | None
) -> None:
    columns = columns_of_day(*brief)
    one, other = Predictor(SHIPPED, recalibrate), Predictor(SHIPPED, recalibrate)
    usable = np.random.default_rng(3).random(int((columns.kind == BOOK).sum())) < 0.7
    for _ in range(2):  # what was learnt goes on from day to day
        expected = lived(columns, one, usable, 0.5)
        found = joined(Walk(columns, other.manifest.spec, 0, other, Lessons(usable, 0.5)))
        assert_same(expected, found)
        assert np.isfinite(found.forecasts).any()
        if one.recalibrator is not None and other.recalibrator is not None:
            assert one.recalibrator.refits > 5
            a, b = one.recalibrator.learnt(), other.recalibrator.learnt()
            assert {name: bits(array) for name, array in a.items()} == {name: bits(array) for name, array in b.items()}


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(change, min_size=1, max_size=80), seed=st.integers(0, 99))
def test_any_market_is_what_a_maker_sees(steps: list[tuple], seed: int) -> None:
    config = msgspec.structs.replace(MOVING, every_s=1.0, sample_s=0.01)
    columns = columns_of([(T0, [(BID, 99, 5), (2, 101, 5)], True), *stamped(steps * 3)])
    one, other = Predictor(SHIPPED, config), Predictor(SHIPPED, config)
    quick = msgspec.structs.replace(one.manifest.spec, warm_up_s=0.0)
    for predictor in (one, other):
        predictor.manifest = msgspec.structs.replace(predictor.manifest, spec=quick)
    usable = np.random.default_rng(seed).random(int((columns.kind == BOOK).sum())) < 0.8
    found = joined(Walk(columns, quick, 0, other, Lessons(usable, 0.3)))
    assert_same(lived(columns, one, usable, 0.3), found)


def test_without_a_predictor_nothing_is_forecast(brief: tuple[Catalog, Day]) -> None:
    found = joined(Walk(columns_of_day(*brief), Config().features, 0))
    assert found.ready.any()
    assert not found.outside.any()
    assert np.isnan(found.forecasts).all()


def test_a_recalibrating_predictor_must_be_told_where_it_learns(brief: tuple[Catalog, Day]) -> None:
    walk = Walk(columns_of_day(*brief), Config().features, 0, Predictor(SHIPPED, MOVING))
    with pytest.raises(ValueError, match="where it learns"):
        next(iter(walk))


@pytest.mark.parametrize("recalibrate", [RecalibrateConfig(), MOVING])
def test_forecasts_of_a_backtest_in_nautilus(
    brief: tuple[Catalog, Day], recalibrate: RecalibrateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, day = brief
    noted: dict[int, Forecast | None] = {}
    ask = MarketMaker._forecast

    def noting(maker: MarketMaker, ts_ns: int) -> Forecast | None:
        noted[ts_ns] = ask(maker, ts_ns)
        return noted[ts_ns]

    monkeypatch.setattr(MarketMaker, "_forecast", noting)
    config = msgspec.structs.replace(Config(), model=msgspec.structs.replace(Config().model, recalibrate=recalibrate))
    plan = Plan(config, "cmm", SHIPPED, None, QueueConfig(model="power", n=1.0))
    one, other = Predictor(SHIPPED, recalibrate), Predictor(SHIPPED, recalibrate)
    columns = catalog.columns(day)
    times = columns.ts[columns.kind == BOOK]
    for _ in range(2):
        noted.clear()
        run_day(catalog, day, plan, predictor=one)
        usable = np.isin(times, np.array(list(noted)))
        path = joined(Walk(columns, other.manifest.spec, day.depth, other, Lessons(usable, 0.0)))
        expected = np.array([NONE if f is None else f for f in noted.values()], np.float32)
        assert len(expected) > 500
        assert bits(path.forecasts[usable]) == bits(expected)
    if one.recalibrator is not None and other.recalibrator is not None:
        assert one.recalibrator.refits == other.recalibrator.refits > 10
