"""Where a recalibrating maker learns: the updates at which it forecasts, as far as the market alone decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.columns import TRADE, Columns
from market.compiled import allocating
from models.ensemble.market_path import MarketPath
from strategies.clock import CHECK_NS
from strategies.guard import DataGuardConfig, ModelGuardConfig, data_guard_state, model_guard_state
from strategies.guard_rules import STAMP, data_on_book, data_on_time, model_fault, with_room
from strategies.quoting_hours import QuotingHours, contains


def usable_updates(
    events: Columns, path: MarketPath, hours: QuotingHours, data: DataGuardConfig, model: ModelGuardConfig
) -> NDArray[np.bool_]:
    """Book updates (updates,) at which nothing but its forecast could keep the maker from using it.

    `path` needs what the features say alone: ready, and how many lie outside their range. Once trading has been halted
    the maker forecasts no more; that hangs on its orders, and is not known here.
    """
    usable = np.zeros(len(path.ready), np.bool_)
    guards = (data_guard_state(data)[0], model_guard_state(model)[0])
    _find(usable, events, path.ready, path.outside, *guards, np.zeros(64, STAMP), hours.opens, hours.stops, CHECK_NS)
    return usable


@allocating
def _find(usable, events, ready, outside, guard, model, lags, opens, stops, every_ns):  # type: ignore[no-untyped-def]
    b, check_ns, state = 0, events.ts[0] + every_ns if len(events.ts) else 0, 0
    for e in range(len(events.kind)):
        while check_ns < events.ts[e]:  # one that falls on an event's very time comes after it
            if data_on_time(guard, check_ns) == 0 and contains(opens, stops, check_ns) and b > 0 and state == 0:
                model.outside = outside[b - 1]
            check_ns += every_ns
        if events.kind[e] == TRADE:
            continue
        if guard.measures_lag:
            lags = with_room(guard.lags, lags)
        state = events.state[e]
        ts, clear = events.ts[e], events.clear[e]
        problem = data_on_book(guard, lags, ts, events.ts_event[e], events.sequence[e], clear, state)
        if problem == 0 and ready[b] and contains(opens, stops, ts):
            usable[b] = model_fault(model, True, 1.0, 0) == 0
        b += 1
