"""One decision: market, forecast and what rests at the venue in, ladder and order actions out.

A pure function of inputs and configuration: a backtest, a live trader and `cmm replay-journal` run
these very lines, so that a journal of the inputs proves what was done with them. Compiled: `decide` over
records. A quoter that only Python can ask stands between `before_quoter` and `after_quoter`.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from market.compiled import inlined
from market.events import ASK, BID
from market.records import row, state_of
from market.valuation import PLAIN, VALUE, Valuation
from models.ensemble.predictor import Forecast
from strategies.admission import LIMITS, RISK, STANDING, Limit, admit
from strategies.differ import DIFFER, RESTING, DifferConfig, actions_of, diff_side, differ_state, tolerance_of
from strategies.guard import ModelGuardConfig
from strategies.ladder import LADDER, MAX_LEVELS, LadderConfig, build_ladder, ladder_state
from strategies.limits import LimitsConfig, RiskState, limits_state, refusals_of, scalars_of
from strategies.quoters import Quoter, quote, state_of_quoter
from strategies.values import ACTION, FORECAST, MARKET, Action, Ladder, Market


class Inputs(NamedTuple):
    """What a decision is made of.

    `fault` is what the model guard found wrong with the forecast, '' where nothing; `paused` are the
    sides (bids, asks) that must not quote; `bids` and `asks` are (price in ticks, lots left) of the
    orders that may be touched, in the order that actions index them.
    """

    market: Market
    forecast: Forecast | None
    fault: str
    paused: tuple[bool, bool]
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    risk: RiskState


class Decision(NamedTuple):
    """Ladder wanted, actions to take, and which limits refused or cut how often."""

    ladder: Ladder
    actions: list[Action]
    refusals: dict[str, int]


SETTINGS = np.dtype(
    [
        ("ladder", LADDER), ("differ", DIFFER), ("limits", LIMITS), ("value", VALUE), ("wide_ticks", np.float64),
        ("wide_sigmas", np.float64), ("pulls", np.bool_),
    ],
    align=True,
)  # fmt: skip
"""What all decisions of a run share; `pulls` says whether a faulty forecast takes the quotes away."""

SITUATION = np.dtype(
    [
        ("market", MARKET), ("forecast", FORECAST), ("risk", RISK), ("bids", np.int64), ("asks", np.int64),
        ("standing", np.int64), ("has_forecast", np.bool_), ("fault", np.bool_), ("no_bids", np.bool_),
        ("no_asks", np.bool_),
    ],
    align=True,
)  # fmt: skip
"""What one decision is made of, see `Inputs`. `bids` and `asks` count the rows of touchable orders, `standing` those
of all orders at the venue; `no_bids` and `no_asks` are paused sides."""

PLAN = np.dtype(
    [
        ("step", np.int64), ("bid", np.float64), ("ask", np.float64), ("bids", np.int64), ("asks", np.int64),
        ("actions", np.int64), ("refused", np.int64), ("ladder", np.int64, (2, MAX_LEVELS, 2)),
        ("missing", np.int64, (MAX_LEVELS,)), ("refusals", np.int64, (len(Limit),)),
    ]
)  # fmt: skip
"""What one decision came to: best prices wanted (ticks), levels of the ladder and the ladder (side, level, price and
lots), how many actions there are, how many a limit refused or cut, how many each `Limit` did; `missing` is scratch."""


class Step(IntEnum):
    """What a decision's best prices come from."""

    QUOTED = 0
    """A quoter."""
    WIDE = 1
    """The mid: the forecast is faulty, and quotes stand far away."""
    PULLED = 2
    """Nothing: the forecast is faulty, and nothing is quoted."""


_QUOTED, _WIDE, _PULLED = (int(step) for step in Step)
_MOST_LOG_VOLUME = 30.0


def settings_of(
    ladder: LadderConfig, differ: DifferConfig, limits: LimitsConfig, model: ModelGuardConfig, value: Valuation
) -> Any:
    """The SETTINGS of a configuration."""
    return state_of(
        SETTINGS, ladder=ladder_state(ladder), differ=differ_state(differ), limits=limits_state(limits),
        value=value.state(), wide_ticks=model.wide_ticks, wide_sigmas=model.wide_sigmas,
        pulls=model.fallback == "pull",
    )  # fmt: skip


@inlined
def _mid(market: Any) -> float:
    mid: float = 0.5 * (market.bid_ticks + market.ask_ticks)
    return mid


@inlined
def before_quoter(settings: Any, situation: Any, plan: Any) -> None:
    """Begin a plan. Where its step is QUOTED, a quoter has to set `bid` and `ask` next."""
    settings, situation, plan = row(settings), row(situation), row(plan)
    plan.step = _QUOTED
    if not situation.fault:
        return
    if settings.pulls:
        plan.step = _PULLED
        return
    away = max(settings.wide_ticks, settings.wide_sigmas * situation.market.sigma_ticks)
    plan.step = _WIDE
    plan.bid = _mid(situation.market) - away
    plan.ask = _mid(situation.market) + away


@inlined
def _volume(situation: Any) -> float:
    """Forecast volume, lots; 0 where there is none. libm's expm1: numpy's last bit depends on the processor."""
    if situation.fault or not situation.has_forecast:
        return 0.0
    log_volume = situation.forecast.log_volume
    volume = math.expm1(_MOST_LOG_VOLUME if log_volume > _MOST_LOG_VOLUME else log_volume)
    return 0.0 if volume < 0.0 else volume


@inlined
def _plan_ladder(settings: Any, situation: Any, plan: Any) -> None:
    """The ladder wanted: empty on paused sides, and on both where a fault pulls the quotes."""
    plan.bids = 0
    plan.asks = 0
    if plan.step == _PULLED:
        return
    market, limit, position = situation.market, settings.limits.max_position_lots, situation.risk.position
    bids, asks = build_ladder(
        settings.ladder, plan.ladder, plan.bid, plan.ask, market.bid_ticks, market.ask_ticks, _volume(situation),
        limit - position, limit + position,
    )  # fmt: skip
    if not situation.no_bids:
        plan.bids = bids
    if not situation.no_asks:
        plan.asks = asks


@inlined
def after_quoter(
    settings: Any, situation: Any, touchable: Any, standing: Any, plan: Any, actions: Any, verdict: Any
) -> None:
    """Finish a plan whose best prices are known: the ladder, the actions that lead to it, and what limits let through.

    Parameters
    ----------
    settings, situation, plan : SETTINGS, SITUATION and PLAN records
    touchable : (>= bids + asks,) RESTING
        Orders that may be touched, bids before asks; actions index them within their side.
    standing : (>= standing,) STANDING
    actions : (>= bids + asks + 2 * MAX_LEVELS,) ACTION
        Its first `plan.actions` are to be carried out.
    verdict : (>= bids, asks) int64
        Scratch.

    """
    settings, situation, plan = row(settings), row(situation), row(plan)
    if len(actions) < situation.bids + situation.asks + 2 * MAX_LEVELS:
        raise IndexError("the table of actions is too short")
    _plan_ladder(settings, situation, plan)
    plan.refused = 0
    plan.refusals[:] = 0
    tolerance = tolerance_of(settings.differ, situation.market.sigma_ticks)
    bids, asks = touchable[: situation.bids], touchable[situation.bids : situation.bids + situation.asks]
    n = diff_side(settings.differ, BID, plan.ladder[0, : plan.bids], bids, tolerance, verdict, plan.missing, actions, 0)
    n = diff_side(settings.differ, ASK, plan.ladder[1, : plan.asks], asks, tolerance, verdict, plan.missing, actions, n)
    if n > 0:
        n = admit(
            settings.limits, settings.value, situation.risk, standing[: situation.standing], _mid(situation.market),
            actions, n, plan.refusals,
        )  # fmt: skip
        plan.refused = plan.refusals.sum()
    plan.actions = n


@inlined
def decide(
    settings: Any, quoter: Any, situation: Any, touchable: Any, standing: Any, plan: Any, actions: Any, verdict: Any
) -> None:
    """Make one decision with a quoter of ours (a QUOTER record); the others as in `after_quoter`."""
    settings, situation, plan = row(settings), row(situation), row(plan)
    before_quoter(settings, situation, plan)
    if plan.step == _QUOTED:
        plan.bid, plan.ask = quote(
            quoter, situation.market, situation.forecast, situation.risk.position, settings.limits.max_position_lots
        )
    after_quoter(settings, situation, touchable, standing, plan, actions, verdict)


class Decider:
    """Turns inputs into decisions. A decision's ladder is valid until the next one.

    Parameters
    ----------
    ladder, differ, limits, model : config
    quoter : Quoter
    value : Valuation
        What a lot is worth at a price.

    """

    def __init__(
        self,
        ladder: LadderConfig,
        differ: DifferConfig,
        limits: LimitsConfig,
        model: ModelGuardConfig,
        quoter: Quoter,
        value: Valuation = PLAIN,
    ) -> None:
        self.quoter = quoter
        self._limit = limits.max_position_lots
        self._settings, self._quoter = settings_of(ladder, differ, limits, model, value), state_of_quoter(quoter)
        self._situation, self._plan = state_of(SITUATION), state_of(PLAN)
        self._counts, self._ladder = self._plan[["bids", "asks", "actions", "refused"]], self._plan["ladder"][0]
        self._make_room(32)

    def _make_room(self, orders: int) -> None:
        self._touchable, self._standing = np.zeros(orders, RESTING), np.zeros(orders, STANDING)
        self._actions, self._verdict = np.zeros(orders + 2 * MAX_LEVELS, ACTION), np.zeros(orders, np.int64)

    def decide(self, inputs: Inputs) -> Decision:
        """Make one decision."""
        self._take(inputs)
        if self._quoter is not None:
            assert inputs.forecast is not None or inputs.fault or not self.quoter.needs_forecast
            decide(
                self._settings, self._quoter, self._situation, self._touchable, self._standing, self._plan,
                self._actions, self._verdict,
            )  # fmt: skip
        else:
            self._ask(inputs)
        bids, asks, actions, refused = self._counts.item()
        return Decision(
            Ladder(self._ladder[0, :bids], self._ladder[1, :asks]),
            actions_of(self._actions[:actions]) if actions else [],
            refusals_of(self._plan["refusals"][0], inputs.risk.unknown) if refused else {},
        )

    def _ask(self, inputs: Inputs) -> None:
        """Decide with a quoter that only Python can ask."""
        before_quoter(self._settings, self._situation, self._plan)
        if self._plan["step"] == Step.QUOTED:
            best = self.quoter.best(inputs.market, inputs.forecast, inputs.risk.position, self._limit)
            self._plan["bid"], self._plan["ask"] = best
        after_quoter(
            self._settings, self._situation, self._touchable, self._standing, self._plan, self._actions, self._verdict
        )

    def _take(self, inputs: Inputs) -> None:
        """Write inputs into the arrays of compiled code."""
        market, forecast, fault, paused, bids, asks, risk = inputs
        n, m, standing = len(bids), len(asks), len(risk.orders)
        if max(n + m, standing) > len(self._touchable):
            self._make_room(2 * max(n + m, standing))
        if n or m:
            self._touchable[: n + m] = bids + asks
        if standing:
            self._standing[:standing] = list(risk.orders)
        self._situation[0] = (
            market, forecast or _NO_FORECAST, scalars_of(risk), n, m, standing,
            forecast is not None, bool(fault), *paused,
        )  # fmt: skip


_NO_FORECAST = (math.nan,) * len(Forecast._fields)
