"""Our matcher inside Nautilus: scripted markets with known fills, end to end; latency; costs; calibration."""

from __future__ import annotations

import datetime as dt
import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from engine.backtest.nautilus_lane import run_day
from engine.backtest.run_record import fills_sha256
from engine.calibration import calibrate as calibration
from engine.calibration.calibrate import fit
from engine.calibration.hypothetical_orders import Cancels
from engine.cli.main import main
from engine.config import Config
from engine.disposal import collected
from engine.plan import Plan
from market.contracts import ContractTable, Fees, Tier
from market.errors import ConfigError
from market.events import ASK, BID, SELL, BookUpdate, Event, Trade
from market.valuation import tick_value
from models.ensemble.predictor import Forecast
from strategies.differ import DifferConfig
from strategies.guard import GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.maker import MarketMaker
from strategies.quoters import OffsetConfig
from strategies.values import Market
from strategies.wiring import MakerConfig
from tests.scripted import trade_script
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.simulation.fees import FeeSchedule, FeesConfig
from venues.simulation.latency import CommandPath, DelayConfig, LatencyConfig
from venues.simulation.queues import Nautilus, Pessimistic, QueueConfig, QueueModel

S = 10**9
MS = 10**6
T0 = int(dt.datetime(2020, 3, 2, 9, tzinfo=dt.UTC).timestamp()) * S


class Fixed:
    """Quotes one price a side; from a time on another."""

    needs_forecast = False

    def __init__(self, bid: float, ask: float, later: tuple[int, float, float] | None = None) -> None:
        self._quotes, self._later, self.calls = (bid, ask), later, 0

    def best(self, market: Market, forecast: Forecast | None, position: int, limit: int) -> tuple[float, float]:
        self.calls += 1
        if self._later is not None and self.calls >= self._later[0]:
            return self._later[1:]
        return self._quotes


def book(ms: int, *levels: tuple[int, int, int]) -> BookUpdate:
    return BookUpdate("QR.SIM", T0 + ms * MS, T0 + ms * MS, list(levels))


def trade(ms: int, price: int, lots: int, aggressor: int = SELL) -> Trade:
    return Trade("QR.SIM", T0 + ms * MS, T0 + ms * MS, price, lots, aggressor)


OPEN = book(0, (BID, 1000, 50), (BID, 999, 80), (ASK, 1003, 40), (ASK, 1004, 90))


@collected
def fills(
    tmp_path: Path,
    events: list[Event],
    quoter: Fixed,
    model: QueueModel | None,
    order_ms: float = 0.0,
    size: int = 5,
    levels: int = 1,
    snapshots: bool = False,
) -> list[tuple[int, int, int, int]]:
    """(ms, side, price, lots) of our fills in a scripted market."""
    catalog = Catalog(tmp_path / "data", ContractTable())
    day = import_events(catalog, events, "script", "simulator", [], Counter(), lambda *_: None).days[0]
    settings = MakerConfig(
        LadderConfig(levels=levels, size_lots=size, size_step_lots=0),
        DifferConfig(),
        LimitsConfig(max_position_lots=100, max_order_lots=100),
        GuardConfig(),
        0.0,
        [(day.start_ns, day.end_ns + S)],
    )
    recorder = trade_script(catalog, day, quoter, settings, model, order_ms=order_ms, snapshots=snapshots)
    return [((f.ts_ns - T0) // MS, f.side, f.price_ticks, f.lots) for f in recorder.fills]


# ── scripted markets through the engine ───────────────────────────────────────────────────────


def test_the_engine_fills_what_the_matcher_gives(tmp_path: Path) -> None:
    events = [OPEN, trade(1000, 1000, 30), trade(2000, 1000, 22), book(2100, (BID, 1000, 2)), trade(3000, 1000, 9)]
    assert fills(tmp_path, events, Fixed(1000, 1100), Pessimistic()) == [(2000, BID, 1000, 2), (3000, BID, 1000, 3)]


def test_two_of_our_orders_and_one_trade_through_both(tmp_path: Path) -> None:
    events = [OPEN, trade(1000, 998, 7), trade(2000, 998, 30)]
    found = fills(tmp_path, events, Fixed(1000, 1100), Pessimistic(), levels=2)
    assert found == [(1000, BID, 1000, 5), (1000, BID, 999, 2), (2000, BID, 999, 3)]


def test_nautilus_own_queue_stays_to_compare_with(tmp_path: Path) -> None:
    events = [OPEN, trade(1000, 998, 7), trade(2000, 1000, 53)]
    assert fills(tmp_path, events, Fixed(1000, 1100), None) == [(2000, BID, 1000, 3)]


SCRIPTS = [
    [OPEN, trade(1000, 1000, 30), trade(2000, 1000, 15), trade(3000, 1000, 12), trade(4000, 1000, 20)],
    [OPEN, book(1000, (BID, 1000, 5)), trade(2000, 1000, 8), trade(3000, 1000, 30)],
    [OPEN, trade(1000, 1000, 30), book(1001, (BID, 1000, 20)), trade(3000, 1000, 22)],
    [OPEN, trade(1000, 999, 9), book(1500, (BID, 1000, 70)), trade(2000, 1000, 51)],
    [OPEN, book(1000, (BID, 1000, 0), (BID, 999, 0), (ASK, 1000, 6)), book(2000, (ASK, 1004, 91))],
]


@pytest.mark.parametrize("script", range(len(SCRIPTS)))
def test_the_model_of_nautilus_queue_is_nautilus_queue(tmp_path: Path, script: int) -> None:
    """`cmm calibrate` scores a model of the engine's own queue: it must fill as that does."""
    hosted = fills(tmp_path / "ours", SCRIPTS[script], Fixed(1000, 1100), Nautilus())
    assert hosted == fills(tmp_path / "theirs", SCRIPTS[script], Fixed(1000, 1100), None)


@pytest.mark.parametrize(("order_ms", "expected"), [(400.0, [(1000, BID, 1000, 3)]), (1400.0, [])])
def test_an_order_on_its_way_misses_the_trade(
    tmp_path: Path, order_ms: float, expected: list[tuple[int, int, int, int]]
) -> None:
    events = [OPEN, trade(1000, 1000, 53), book(1001, (BID, 1000, 40)), book(3000, (BID, 1000, 41))]
    assert fills(tmp_path, events, Fixed(1000, 1100), Pessimistic(), order_ms) == expected


@pytest.mark.parametrize(
    ("order_ms", "snapshots", "lots"),
    [
        pytest.param(100.0, False, 0, id="an event feed: the cancel was there before the trade"),
        pytest.param(100.0, True, 2, id="a snapshot feed: a tenth of the twenty lots came before the cancel"),
        pytest.param(250.0, True, 5, id="a quarter of them, cut to the order"),
        pytest.param(1.0, True, 0, id="hardly any"),
    ],
)
def test_a_cancel_on_its_way_is_picked_off(tmp_path: Path, order_ms: float, snapshots: bool, lots: int) -> None:
    thin = book(0, (BID, 1000, 50), (ASK, 1003, 40), (ASK, 1004, 90))
    events = [
        thin,
        book(1000, (BID, 1000, 51)),
        book(2000, (BID, 1000, 52)),
        trade(2999, 1001, 20),
        book(3000, (BID, 1000, 51)),
    ]
    quoter = Fixed(1001, 1100, later=(3, 900, 1100))  # stands alone at 1001, leaves at 2 s
    found = fills(tmp_path, events, quoter, Pessimistic(), order_ms, snapshots=snapshots)
    assert sum(f[3] for f in found) == lots


def test_golden_fills(sim: tuple[Catalog, Day]) -> None:
    """Fills of a baseline on a simulated day: the same on every machine."""
    fixed = QueueConfig(model="power", n=1.0, bias=1.0)
    near = msgspec.structs.replace(Config().strategy, offset=OffsetConfig(offset_ticks=0.5))
    venue = msgspec.structs.replace(Config().venue, queue=fixed)
    config = msgspec.structs.replace(Config(), venue=venue, strategy=near)
    episode = run_day(*sim, Plan(config, "foic", None, None))
    again = run_day(*sim, Plan(config, "foic", None, None))
    assert fills_sha256(episode.recorder) == fills_sha256(again.recorder)
    assert (len(episode.recorder.fills), fills_sha256(episode.recorder)[:16]) == GOLDEN


GOLDEN = (269, "06e6e4dc4d9ec79e")


def test_a_backtest_leaves_no_strategy_behind(sim: tuple[Catalog, Day]) -> None:
    """Nautilus wants it dropped on the thread that made it; another one, a progress bar's, may collect garbage."""

    def makers() -> int:
        return sum(type(thing) is MarketMaker for thing in gc.get_objects())

    before = makers()
    gc.disable()
    try:
        run_day(*sim, Plan(Config(), "foic", None, None))
        assert makers() <= before
    finally:
        gc.enable()


# ── latency ───────────────────────────────────────────────────────────────────────────────────


def test_commands_keep_their_order_and_add_up_their_legs(tmp_path: Path) -> None:
    series = tmp_path / "lag.csv"
    series.write_text(f"ts_ns,ms\n{T0},1\n{T0 + S},500\n{T0 + 2 * S},1\n")
    spikes = DelayConfig(kind="series", file=str(series))
    legs = LatencyConfig(decision=DelayConfig(ms=0.25), order=spikes, feed=DelayConfig(kind="recorded"))
    path = CommandPath(legs, T0, T0 + 10 * S)
    assert path.arrival_ns(T0) == T0 + 1_250_000
    path.see(T0, T0 - 100 * MS)  # clocks differ by 100 ms, or the feed does: no one knows
    path.see(T0 + 1, T0 + 1 - 107 * MS)  # but this came 7 ms later than it could
    assert path.arrival_ns(T0 + 1) == T0 + 1 + 8_250_000
    spike = path.arrival_ns(T0 + S)
    assert spike == T0 + S + 507_250_000
    assert path.arrival_ns(T0 + S + 1) == spike + 1
    assert path.arrival_ns(T0 + 2 * S) == T0 + 2 * S + 8_250_000  # the spike has passed


def test_draws_follow_their_quantiles_and_repeat() -> None:
    legs = LatencyConfig(decision=DelayConfig(), order=DelayConfig(kind="quantiles", quantiles_ms=[1, 2, 10]), seed=3)
    one, two = CommandPath(legs, 0, S), CommandPath(legs, 0, S)
    gaps = [one.arrival_ns(i * S) - i * S for i in range(4_000)]
    assert gaps == [two.arrival_ns(i * S) - i * S for i in range(4_000)]
    assert np.quantile(gaps, [0.0, 0.25, 0.5, 1.0]) / MS == pytest.approx([1, 1.5, 2, 10], abs=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ts_ns,ms\n5,1\n4,1\n", "order of time"),
        ("ts_ns,ms\n", "order of time"),
        ("ts_ns,ms\n5,-1\n", "order of time"),
        ("time,ms\n5,1\n", "columns ts_ns and ms"),
        ("ts_ns,ms\n5,1\n6,1\n", "outside the day"),
    ],
)
def test_a_latency_series_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lag.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        CommandPath(LatencyConfig(order=DelayConfig(kind="series", file=str(path))), T0, T0 + S)


# ── costs ─────────────────────────────────────────────────────────────────────────────────────

IF = ContractTable().by_id("IF2101.CFFEX")
LOT = 26_000 * 60.0  # CNY a lot at 5,200 points


def test_locking_opens_where_closing_today_costs_more() -> None:
    fees = IF.terms.fees
    lock = FeeSchedule(IF, fees, FeesConfig(lock=True))
    assert lock.charge(BID, 26_000, 2, is_maker=True) == pytest.approx(2 * 2.3e-5 * LOT)
    assert lock.charge(ASK, 26_000, 3, is_maker=True) == pytest.approx(
        (2 * 3 * 2.3e-5 + 2.3e-5) * LOT
    )  # 2 locked, 1 opened
    assert lock.locked_lots == 2
    assert lock.break_even_ticks(26_000) == pytest.approx(0.5 * 4 * 2.3e-5 * 26_000)
    cheap = Fees(maker=1e-4, close_today=1e-4)
    assert FeeSchedule(IF, cheap, FeesConfig(lock=True)).break_even_ticks(26_000) == pytest.approx(1e-4 * 26_000)
    rebate = FeeSchedule(IF, Fees(maker=-2e-5), FeesConfig(lock=True))
    rebate.charge(BID, 26_000, 1, is_maker=True)
    assert rebate.charge(ASK, 26_000, 1, is_maker=True) == pytest.approx(-2e-5 * LOT)  # once, not for three legs
    assert rebate.locked_lots == 0
    sim = ContractTable().by_id("QR.SIM")
    one_way = FeeSchedule(sim, fees, FeesConfig(lock=True))  # no exchange that keeps both sides
    one_way.charge(BID, 1_000, 1, is_maker=True)
    one_way.charge(ASK, 1_000, 1, is_maker=True)
    assert one_way.locked_lots == 0


def test_the_oldest_position_closes_first_unless_the_order_chooses() -> None:
    fees = Fees(maker=0.0, close=1e-4, close_today=0.0)  # closing today's is free, as in some products
    oldest = FeeSchedule(IF, fees, overnight=(2, 0))
    oldest.charge(BID, 26_000, 2, is_maker=True)
    assert oldest.charge(ASK, 26_000, 3, is_maker=True) == pytest.approx(2 * 1e-4 * LOT)
    copper = ContractTable().by_id("cu2201.SHFE")
    chosen = FeeSchedule(copper, fees, overnight=(2, 0))
    chosen.charge(BID, 7_000, 2, is_maker=True)
    assert chosen.charge(ASK, 7_000, 2, is_maker=True) == 0.0
    assert chosen.charge(ASK, 7_000, 1, is_maker=True) == pytest.approx(1e-4 * 7_000 * 50)


def test_volume_tiers_replace_the_rates() -> None:
    sim = ContractTable().by_id("QR.SIM")
    fees = Fees(maker=2e-4, taker=5e-4, tiers=[Tier(turnover=15_000, maker=1e-4, taker=4e-4)])
    schedule = FeeSchedule(sim, fees)
    assert schedule.charge(BID, 1_000, 1, is_maker=True) == pytest.approx(2e-4 * 10_000)
    assert schedule.charge(BID, 1_000, 1, is_maker=False) == pytest.approx(5e-4 * 10_000)
    assert schedule.charge(BID, 1_000, 1, is_maker=True) == pytest.approx(1e-4 * 10_000)
    assert FeeSchedule(sim, fees, FeesConfig(turnover=2e4)).charge(BID, 1_000, 1, is_maker=False) == pytest.approx(4.0)


def test_an_inverse_contract_earns_coin(tmp_path: Path) -> None:
    """100 USD a lot: its worth in coin falls as the price rises, and the account agrees."""
    table = tmp_path / "coin.yaml"
    table.write_text(
        "contracts:\n- {exchange: SIM, product: QR, kind: perpetual, currency: BTC, base: BTC, tick: 0.5, "
        "multiplier: 100, inverse: true, fees: {maker: 1.0e-4}}\n"
    )
    contracts = ContractTable([table])
    coin = contracts.by_id("QR.SIM")
    assert coin.mark_value(20_001.0) - coin.mark_value(20_000.0) == pytest.approx(100 / 10_000.0 - 100 / 10_000.5)
    assert coin.turnover(20_000.0) == pytest.approx(0.01)
    assert tick_value(coin.mark_value.state()[0], 20_000.0) == pytest.approx(100 * 0.5 / 10_000.0**2, rel=1e-6)
    catalog = Catalog(tmp_path / "data", contracts)
    from venues.recordings.simulator import simulate

    events = simulate(4, 240.0, T0)
    day = import_events(catalog, events, "sim", "simulator", [], Counter(), lambda *_: None).days[0]
    near = msgspec.structs.replace(Config().strategy, offset=OffsetConfig(offset_ticks=0.5))
    episode = run_day(catalog, day, Plan(msgspec.structs.replace(Config(), strategy=near), "foic", None, None))
    assert len(episode.recorder.fills) > 20
    episode.check_identity()
    assert abs(episode.breakdown.net) < 0.1  # coins, not dollars
    assert episode.breakdown.fees == pytest.approx(
        sum(1e-4 * 100 * f.lots / (f.price_ticks * 0.5) for f in episode.recorder.fills), abs=1e-6
    )


# ── calibration ───────────────────────────────────────────────────────────────────────────────


def made_cancels(n: float, bias: float, count: int = 20_000) -> Cancels:
    rng = np.random.default_rng(1)
    sides = rng.uniform(1, 100, (count, 2))
    odds = np.exp(bias) * (sides[:, 1] / sides[:, 0]) ** n
    return Cancels(sides, np.ones(count), rng.random(count) < odds / (1 + odds), np.arange(count) * S)


def test_the_fit_finds_the_parameters_that_made_the_cancels() -> None:
    n, bias = fit(made_cancels(0.7, 1.5), 60.0, 40, 1)
    assert n.value == pytest.approx(0.7, abs=0.06)
    assert bias.value == pytest.approx(1.5, abs=0.08)
    assert n.low < n.value < n.high
    assert bias.low < bias.value < bias.high


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout + result.stderr


def test_calibrate_on_the_simulated_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def calibrated(minutes: int, orders: int) -> dict[str, Any]:
        few = ("--set", f"calibrate.orders={orders}", "--set", "calibrate.draws=40")
        return json.loads(CliRunner().invoke(main, ["calibrate", "--simulated", str(minutes), "--json", *few]).stdout)  # type: ignore[no-any-return]

    assert calibrated(5, 500) == calibrated(5, 500)
    found = calibrated(20, 2000)
    assert set(found["models"]) == {"nautilus", "pessimistic", "optimistic", "proportional", "calibrated"}
    assert found["calibrated"] == found["models"]["calibrated"]
    assert abs(found["calibrated"]["fill_rate_bias"]) < 0.02
    assert abs(found["calibrated"]["markout_bias_ticks"]) < 0.1
    # recency 1: the last lot is e times as likely to leave as the first
    assert 0.9 < found["n"]["value"] < 1.3
    assert 0.3 < found["bias"]["value"] < 0.8
    bias = {name: scores["ahead_bias_lots"] for name, scores in found["models"].items()}
    assert bias["optimistic"] < bias["proportional"] < bias["pessimistic"]
    assert (sorted(Path("runs").iterdir())[-1] / "report.html").stat().st_size > 100_000


def test_calibrate_needs_recordings_that_name_orders(sim: tuple[Catalog, Day]) -> None:
    root = f"data.path={sim[0].root}"
    code, text = run("calibrate", "--instrument", "QR.SIM", "--set", root)
    assert code == 2
    assert "names its orders (L3)" in text
    assert run("calibrate")[0] == 2
    with pytest.raises(ConfigError, match="names no orders"):
        fifo = msgspec.structs.replace(Config().venue, queue=QueueConfig(model="fifo"))
        run_day(*sim, Plan(msgspec.structs.replace(Config(), venue=fifo), "foic", None, None))


def test_an_exact_queue_runs_where_orders_are_named(tmp_path: Path) -> None:
    from venues.recordings.simulator import simulate_orders

    catalog = Catalog(tmp_path / "data", ContractTable())
    events = simulate_orders(5, 240.0, T0)
    day = import_events(catalog, events, "sim", "simulator", [], Counter(), lambda *_: None).days[0]
    assert day.orders
    near = msgspec.structs.replace(Config().strategy, offset=OffsetConfig(offset_ticks=0.5))
    found = {}
    for model in ("fifo", "optimistic", "pessimistic"):
        venue = msgspec.structs.replace(Config().venue, queue=QueueConfig(model=model))  # type: ignore[arg-type]
        config = msgspec.structs.replace(Config(), venue=venue, strategy=near)
        episode = run_day(catalog, day, Plan(config, "foic", None, None))
        episode.check_identity()
        found[model] = len(episode.recorder.fills)
    assert found["fifo"] > 20


def test_a_calibration_is_used_for_later_days_only(sim: tuple[Catalog, Day], tmp_path: Path) -> None:
    catalog = Catalog(tmp_path, ContractTable())
    shipped = calibration.read(calibration.SHIPPED)
    earlier = msgspec.structs.replace(shipped, instrument="QR.SIM", days=["2020-03-01"])
    calibration.save(calibration.path_of(catalog, "QR.SIM"), earlier)
    queue = QueueConfig()
    assert "fitted to QR.SIM" in calibration.resolve(catalog, "QR.SIM", dt.date(2020, 3, 2), queue)[1]
    model, why = calibration.resolve(catalog, "QR.SIM", dt.date(2020, 3, 1), queue)
    assert "as shipped" in why
    assert model.n == shipped.n.value
    own = QueueConfig(file=str(calibration.path_of(catalog, "QR.SIM")))
    assert "WARNING" in calibration.resolve(catalog, "QR.SIM", dt.date(2020, 3, 1), own)[1]
    broken = tmp_path / "x.json"
    broken.write_text("{}")
    for path in (broken, tmp_path / "none.json"):
        with pytest.raises(ConfigError, match=path.name):
            calibration.resolve(catalog, "QR.SIM", dt.date(2020, 3, 1), QueueConfig(file=str(path)))
