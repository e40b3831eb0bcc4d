"""What Nautilus needs of a strategy's callbacks: it swallows what they raise, and forgets nothing by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, Protocol

from nautilus_trader.trading import Strategy


class Fallible(Protocol):
    """A strategy that keeps its first failure and stops on it."""

    @property
    def failure(self) -> Exception | None:
        """What a callback raised."""

    def fail(self, error: Exception) -> None:
        """Keep the failure and stop; the runner raises it again."""


def guarded[S: Fallible, **P](callback: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Hand what a callback raises to its strategy; after a failure nothing is called any more."""

    @functools.wraps(callback)
    def wrapper(strategy: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if strategy.failure is not None:
            return
        try:
            callback(strategy, *args, **kwargs)
        except Exception as error:
            strategy.fail(error)

    return wrapper


def purge(strategy: Strategy) -> None:
    """Forget closed orders and positions, and old account events: memory grows by 7 KB an action otherwise."""
    wall_ns = strategy.clock.timestamp_ns()
    strategy.cache.purge_closed_orders(wall_ns, 1)
    strategy.cache.purge_closed_positions(wall_ns, 1)
    strategy.cache.purge_account_events(wall_ns, 1)
