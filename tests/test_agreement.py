"""The check that both lanes agree finds what is planted, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from engine.backtest import nautilus_lane
from engine.backtest.agreement import ActionLog, LanesDifferError, check_agreement
from engine.backtest.episode import Episode
from engine.backtest.lanes import open_market, trade_market
from engine.backtest.run_recorder import RunRecorder
from engine.plan import plan_day
from tests.made_days import made_day
from tests.test_lanes import plan
from venues.recordings.catalog import Day


class Both(NamedTuple):
    """A day as both lanes tell it."""

    day: Day
    fast: Episode
    nautilus: Episode
    log: ActionLog


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Both]:
    """Trades the day in Nautilus anew each time, for a test to spoil."""
    catalog, day = made_day(tmp_path_factory.mktemp("agreement"), "shown", 1)
    run = plan("foic", {})
    fast = trade_market(open_market(catalog, day, run), plan_day(run, catalog, day), logs_actions=True)

    def live() -> Both:
        log = ActionLog()
        return Both(day, fast, nautilus_lane.run_day(catalog, day, run, observer=log), log)

    return live


def _recorder(both: Both) -> RunRecorder:
    assert isinstance(both.nautilus.recorder, RunRecorder)
    return both.nautilus.recorder


def _alter_fill(**changes: object) -> Callable[[Both], None]:
    def alter(both: Both) -> None:
        fills = _recorder(both).fills
        fills[2] = fills[2]._replace(**changes)  # type: ignore[arg-type]

    return alter


def _drop_fill(both: Both) -> None:
    _recorder(both).fills.pop()


def _alter_action(field: int) -> Callable[[Both], None]:
    def alter(both: Both) -> None:
        taken = list(both.log.taken[5])
        taken[field] += 1
        both.log.taken[5] = tuple(taken)  # type: ignore[assignment]

    return alter


def _add_action(both: Both) -> None:
    both.log.taken.append(both.log.taken[-1])


def _alter_own(both: Both) -> None:
    _recorder(both)._ints[42] += 1


def _drop_update(both: Both) -> None:
    recorder = _recorder(both)
    recorder._ts.pop()
    del recorder._ints[-4:], recorder._floats[-4:]


def _count(name: str) -> Callable[[Both], None]:
    def alter(both: Both) -> None:
        both.nautilus.counts[name] = both.nautilus.counts.get(name, 0) + 1

    return alter


def _halt(both: Both) -> None:
    _recorder(both).halted.append("drawdown")


def test_what_agrees_passes(lived: Callable[[], Both]) -> None:
    both = lived()
    assert len(both.fast.recorder.fills) > 5
    check_agreement(*both)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        pytest.param(_alter_fill(lots=3_000), "differ at fill 3,", id="size of a fill"),
        pytest.param(_alter_fill(price_ticks=1), "differ at fill 3,", id="price of a fill"),
        pytest.param(_alter_fill(ts_ns=1), "differ at fill 3,", id="time of a fill"),
        pytest.param(_alter_fill(commission=1e-9), "differ at fill 3,", id="commission of a fill"),
        pytest.param(_alter_fill(blind=True), "differ at fill 3,", id="whether its queue was seen"),
        pytest.param(_drop_fill, "none in Nautilus", id="a fill less"),
        *(pytest.param(_alter_action(i), "differ at order action 6,", id=f"an action's field {i}") for i in range(5)),
        pytest.param(_add_action, "none in the fast lane", id="an action more"),
        pytest.param(_alter_own, "differ in own at update 11,", id="a quote"),
        pytest.param(_drop_update, "differ in ts_ns", id="an update less"),
        pytest.param(_count("fills"), "count differently: fills", id="a count"),
        pytest.param(_count("denied"), "denied 0 here and 1 in Nautilus", id="what only Nautilus counts"),
        pytest.param(_halt, "count differently: the halt", id="a halt"),
    ],
)
def test_a_planted_difference_is_found(lived: Callable[[], Both], plant: Callable[[Both], None], says: str) -> None:
    both = lived()
    plant(both)
    with pytest.raises(LanesDifferError, match=says):
        check_agreement(*both)


@pytest.mark.parametrize("lane", ["fast", "nautilus"])
def test_money_that_fills_do_not_explain_is_found(lived: Callable[[], Both], lane: str) -> None:
    both = lived()
    episode: Episode = getattr(both, lane)
    richer = msgspec.structs.replace(episode, venue_net=episode.venue_net + 1_000.0)
    with pytest.raises(RuntimeError, match="unexplained"):
        check_agreement(*both._replace(**{lane: richer}))
