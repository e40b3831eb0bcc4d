"""Single rules of a decision for whoever asks them alone, with Python values: they call the compiled functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from market.records import state_of
from market.valuation import PLAIN, Valuation
from strategies import guard_rules as rules
from strategies.admission import RISK, STANDING, Limit, admit
from strategies.differ import RESTING, DifferConfig, actions_of, diff_side, differ_state, tolerance_of
from strategies.ladder import LadderConfig, build_ladder, ladder_state
from strategies.limits import Exposure, LimitsConfig, RiskState, limits_state, refusals_of, scalars_of
from strategies.values import ACTION, Action, Ladder


class LadderBuilder:
    """Builds ladders of one shape, reusing its arrays: a ladder is valid until the next is built."""

    def __init__(self, config: LadderConfig) -> None:
        self.config = config
        self._ladder = ladder_state(config)
        self._out: NDArray[np.int64] = np.zeros((2, config.levels, 2), np.int64)

    def build(
        self, bid: float, ask: float, touch: tuple[int, int], volume_lots: float, buy_room: int, sell_room: int
    ) -> Ladder:
        """Build a ladder.

        Parameters
        ----------
        bid, ask : float
            Wanted best prices, ticks.
        touch : tuple[int, int]
            Best bid and ask of the market, ticks.
        volume_lots : float
            Forecast volume over the horizon; 0 where there is none.
        buy_room, sell_room : int
            Lots that may be bought and sold before the position limit; 0 drops the side.

        """
        bids, asks = build_ladder(
            self._ladder, self._out, bid, ask, touch[0], touch[1], volume_lots, buy_room, sell_room
        )
        return Ladder(self._out[0, :bids], self._out[1, :asks])


class Differ:
    """Compares ladders with working orders, one side at a time."""

    def __init__(self, config: DifferConfig) -> None:
        self._differ = differ_state(config)

    def tolerance(self, sigma_ticks: float) -> int:
        """How much too passive an order may be, ticks."""
        return tolerance_of(self._differ, sigma_ticks)

    def side(
        self, side: int, wanted: NDArray[np.int64], working: list[tuple[int, int]], tolerance: int
    ) -> list[Action]:
        """Actions for one side, cancels before amendments before placements.

        Parameters
        ----------
        side : int
            BID or ASK.
        wanted : ndarray (levels, 2) int64
            Price in ticks and lots.
        working : list[tuple[int, int]]
            (price in ticks, lots left) of the orders that may be touched; an action's `order` is
            an index into it.
        tolerance : int
            How much too passive an order may be, ticks.

        """
        resting, room = np.array(working, RESTING), len(working) + len(wanted)
        actions, scratch = np.zeros(room, ACTION), np.zeros((2, room), np.int64)
        n = diff_side(self._differ, side, wanted, resting, tolerance, scratch[0], scratch[1], actions, 0)
        return actions_of(actions[:n])


class RiskChecks:
    """Lets through what the limits allow. Without memory: the same risk state gives the same answer.

    Parameters
    ----------
    config : LimitsConfig
    value : Valuation
        What a lot is worth at a price.

    """

    def __init__(self, config: LimitsConfig, value: Valuation = PLAIN) -> None:
        self.config = config
        self._limits, self._value = limits_state(config), value.state()

    def admit(self, actions: list[Action], risk: RiskState, mid_ticks: float) -> tuple[list[Action], dict[str, int]]:
        """Check a list of actions in order; cancels always pass.

        Amendments only shrink an order and pass as long as the message budget lasts.

        Returns
        -------
        tuple[list[Action], dict]
            The admitted actions, placements cut down where part of them fits, and how many were cut
            or refused, by limit.

        """
        table, standing = np.array(actions, ACTION), np.array(list(risk.orders), STANDING)
        scalars, counts = np.array([scalars_of(risk)], RISK), np.zeros(len(Limit), np.int64)
        n = admit(self._limits, self._value, scalars, standing, mid_ticks, table, len(table), counts)
        return actions_of(table[:n]), refusals_of(counts, risk.unknown)


class RollingMinimum:
    """The least of what came within a window; remembers what may still become it, in rising order."""

    def __init__(self, window_ns: int) -> None:
        self._state, self._kept = state_of(rules.ROLLING, window_ns=window_ns), np.zeros(16, rules.STAMP)

    def add(self, ts_ns: int, value: int) -> int:
        """Take a value; return the least of the window that ends now."""
        self._kept = rules.with_room(self._state, self._kept)
        return rules.rolling_least(self._state, self._kept, ts_ns, value)


def risk_of(exposure: Exposure, orders: Iterable[tuple[int, int, bool]] = ()) -> RiskState:
    """The risk state of an exposure where nothing else is known or limited."""
    return RiskState(exposure.position, exposure.buys, exposure.sells, exposure.orders, tuple(orders))
