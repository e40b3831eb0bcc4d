"""The way from a backtest to a run, one change at a time: latency, data, fees, guards and limits, at last the queue.

The order is that in which a trader meets them, and each change keeps those before it: what is measured comes before
what is known from settings, and what nobody can see, the queue, comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.backtest.backtest import run_days
from engine.backtest.episode import Episode
from engine.backtest.run_record import Fill
from engine.calibration import calibrate as calibration
from engine.compare import timing
from engine.compare.matching import is_near, match
from engine.compare.own_orders import charge, trade_again
from engine.compare.recording import Market
from engine.compare.records import Record, Span
from engine.compare.split import Cause, Stage
from engine.compare.timing import Arrival, Away
from engine.config import Config
from engine.plan import Plan, plan_day
from engine.progress import SILENT, Progress
from venues.recordings.catalog import Catalog
from venues.recordings.moments import moments
from venues.simulation.latency import DelayConfig, LatencyConfig
from venues.simulation.queues import QueueConfig

_FOREVER = 2**62
_NONE = DelayConfig()
_PRINT_NS = 2 * 10**9  # the public hears of a trade at most so long before or after we do
_HEARD_NS = 10**9  # a fill may be heard after the last of the market


class Explained(msgspec.Struct, frozen=True):
    """A run beside its backtest, and the stages that lead from one to the other.

    Parameters
    ----------
    assumed : Episode
        The backtest, as its configuration assumes things to be.
    stages : list[Stage]
        The last one is the run itself.
    ours : list[Fill]
        The run's fills that the recording tells of.
    arrivals : list[Arrival]
        Of its commands.
    late : list[tuple[int, float]]
        How late it saw data, (ns, ms).
    away : list[Away]
        When it did not quote.
    counts : dict[str, int]
        Of the backtest with all causes but the queue.
    notes : list[str]

    """

    assumed: Episode
    stages: list[Stage]
    ours: list[Fill]
    arrivals: list[Arrival]
    late: list[tuple[int, float]]
    away: list[Away]
    counts: dict[str, int]
    notes: list[str]


class Chain:
    """Backtests of one span of a run.

    Parameters
    ----------
    record : Record
    span : Span
    market : Market
    assumed : Config
        The run's, with what its backtest assumes otherwise.
    scratch : Path
        Where measured series are written to.
    within_ns : int
        Fills further apart are not the same.
    progress : Progress

    """

    def __init__(
        self, record: Record, span: Span, market: Market, assumed: Config, scratch: Path, within_ns: int,
        progress: Progress = SILENT,
    ) -> None:  # fmt: skip
        self._record, self._span, self._market = record, span, market
        self._run, self._assumed = span.header.config, assumed
        self._scratch, self._within, self._progress = scratch, within_ns, progress
        self._catalog, self._day = market.catalog, market.day
        self._notes: list[str] = []
        self._last: tuple[Plan, Catalog, Episode] | None = None

    def explain(self, artifact: Path | None) -> Explained:
        """Trade the day again and again, each time with one more thing as it was.

        Raises
        ------
        ConfigError, DataError
            The day cannot be traded so.

        """
        span, record, market = self._span, self._record, self._market
        log, header = span.log, span.header
        ours = self._covered(span.fills)
        is_replay = record.mode == "replay"
        found = timing.arrivals(log, market.least_lag_ns if record.mode == "live" else 0)
        start, end = market.span
        if not log.has_ended:
            end = min(end, log.end_ns)
        closed: tuple[tuple[int, int], ...] = () if is_replay and log.has_ended else ((end, _FOREVER),)
        plan = Plan(
            self._assumed, header.quoter, artifact, header.intensity, self._queue(self._assumed), closed=closed,
            quoter_sha256=header.quoter_sha256,
        )  # fmt: skip
        assumed = self._trade(plan)
        stages: list[Stage] = []

        plan = self._with(plan, self._latency(found))
        stages.append(self._stage("latency", "commands take as long as they took", plan))
        away = timing.away(log, start, end, is_wide=self._run.guard.model.fallback == "wide")
        late = self._late()
        plan = self._seen(plan, late, away, closed)
        stages.append(self._stage("data", "data come when the trader saw them", plan))
        plan = self._with(plan, fees=self._run.fees)
        stages.append(self._stage("fees", "the run's fee settings", plan))
        plan = msgspec.structs.replace(
            self._with(plan, limits=self._run.limits, guard=self._run.guard), closed=_closed(away, closed)
        )
        stages.append(
            self._stage("guards_and_limits", "the run's limits and guard; no quotes while it quoted none", plan)
        )
        if record.mode != "live":
            plan = msgspec.structs.replace(plan, queue=self._queue(self._run))
            stages.append(self._stage("queue", "the paper exchange's queue model", plan))
        return self._finish(plan, assumed, stages, ours, found, late, away)

    def _finish(
        self, plan: Plan, assumed: Episode, stages: list[Stage], ours: list[Fill], found: list[Arrival],
        late: list[tuple[int, float]], away: list[Away],
    ) -> Explained:  # fmt: skip
        """From the last backtest to the run: its orders in the simulated queue, then in the real one, then its fees."""
        trading = plan_day(plan, self._catalog, self._day)
        with self._progress.share("the run's own orders"):
            again = trade_again(trading, self._catalog, self._day, self._span.log, found)
        if not self._span.log.has_ended:
            again = [fill for fill in again if fill.ts_ns <= self._span.log.end_ns]
        schedule = trading.make_fees()
        priced = [
            fill._replace(
                commission=charge(
                    schedule, trading.contract, fill.side, fill.price_ticks, fill.lots, is_maker=fill.is_maker
                )
            )
            for fill in ours
        ]
        pairs = match(priced, again, self._within)
        unseen = self._unseen([pair.ours for pair in pairs if pair.ours is not None and pair.theirs is None])
        first = next((pair for pair in pairs if pair.fate not in ("same", "other_time")), None)
        last = stages[-1].fills
        if first is None:
            stages.append(Stage("unexplained", "the run's orders instead of the backtest's", again))
        else:
            why: Cause = "data" if first.ours in unseen else "queue"
            mixed = [f for f in again if f.ts_ns < first.ts_ns] + [f for f in last if f.ts_ns >= first.ts_ns]
            stages.append(Stage("unexplained", "other orders, before the first other fill of an order", mixed))
            stages.append(Stage(why, "other orders, which followed from that other fill", again))
        if unseen:
            both = sorted([*again, *unseen])
            stages.append(Stage("data", "fills in trades that the recording never saw", both))
        stages.append(Stage("queue", "the same orders in the real queue", priced))
        stages.append(Stage("fees", "what the exchange charged for these fills", ours))
        assert self._last is not None
        return Explained(assumed, stages, ours, found, late, away, self._last[2].counts, self._notes)

    def _unseen(self, fills: Sequence[Fill]) -> list[Fill]:
        """Fills at a real exchange in trades that the recording does not tell of."""
        if self._record.mode != "live" or not fills:
            return []
        trades: dict[int, list[int]] = {}
        for moment in moments(self._catalog, self._day):
            if moment.trade is not None:
                trades.setdefault(moment.trade.price, []).append(moment.ts)
        return [fill for fill in fills if not is_near(trades.get(fill.price_ticks, ()), fill.ts_ns, _PRINT_NS)]

    # ── one change each ───────────────────────────────────────────────────────────────────────

    def _latency(self, found: Sequence[Arrival]) -> LatencyConfig:
        """As measured; the paper exchange of a replay takes the time that its configuration says."""
        if self._record.mode == "replay":
            return self._run.venue.latency
        rows = timing.latency_series(found)
        if not rows:
            self._notes.append("no order of the run came to rest: its latency was not measured")
            return self._assumed.venue.latency
        series = DelayConfig(kind="series", file=str(timing.write_series(self._scratch / "latency.csv", rows)))
        return LatencyConfig(decision=_NONE, order=series, feed=_NONE)

    def _late(self) -> list[tuple[int, float]]:
        """How late the trader saw the market. A paper exchange sees it when its trader does: nothing is late there."""
        market = self._market
        if self._record.mode != "live" or not market.seen:
            return []
        return timing.lateness_series(market.times(), market.seen, market.least_lag_ns)

    def _seen(
        self, plan: Plan, late: Sequence[tuple[int, float]], away: Sequence[Away], closed: tuple[tuple[int, int], ...]
    ) -> Plan:
        """Data as the trader saw them; it quoted nothing while its guard held that against them."""
        if self._record.mode == "public" and self._market.own is not None:
            self._catalog, self._day = self._market.own
        if any(ms for _, ms in late):
            path = timing.write_series(self._scratch / "late.csv", late)
            feed = DelayConfig(kind="series", file=str(path))
            plan = self._with(plan, msgspec.structs.replace(plan.config.venue.latency, feed=feed))
        return msgspec.structs.replace(plan, closed=_closed([one for one in away if one.is_fed], closed))

    def _queue(self, config: Config) -> QueueConfig:
        """The queue model that a backtest assumes: the run's own where nothing else is asked for."""
        if self._record.queue is not None and config.venue.queue == self._run.venue.queue:
            return self._record.queue
        return calibration.resolve(self._market.base, self._day.instrument, self._day.date, config.venue.queue)[0]

    def _with(self, plan: Plan, latency: LatencyConfig | None = None, **sections: msgspec.Struct) -> Plan:
        if latency is not None:
            sections["venue"] = msgspec.structs.replace(plan.config.venue, latency=latency)
        return msgspec.structs.replace(plan, config=msgspec.structs.replace(plan.config, **sections))

    # ── trading ───────────────────────────────────────────────────────────────────────────────

    def _stage(self, cause: Cause, what: str, plan: Plan) -> Stage:
        return Stage(cause, what, self._trade(plan).recorder.fills)

    def _trade(self, plan: Plan) -> Episode:
        """A backtest, unless it would be the last one again."""
        if self._last is not None and self._last[:2] == (plan, self._catalog):
            return self._last[2]
        episode = run_days(self._catalog, [self._day], plan, self._progress)[0][0]
        self._last = (plan, self._catalog, episode)
        return episode

    def _covered(self, fills: Sequence[Fill]) -> list[Fill]:
        """Fills that the recording tells of."""
        day = self._day
        inside = [f for f in fills if day.start_ns <= f.ts_ns <= day.end_ns + _HEARD_NS]
        if len(inside) < len(fills):
            self._notes.append(
                f"{len(fills) - len(inside)} fills of the run lie outside the recording and are left out"
            )
        return inside


def _closed(away: Sequence[Away], always: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Times without quotes, joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted([*((one.start_ns, one.end_ns) for one in away), *always]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
