"""Nautilus' objects end on the thread that made them."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable


def collected[**P, R](trade: Callable[P, R]) -> Callable[P, R]:
    """Free what a run leaves before its caller goes on.

    A Nautilus strategy may be dropped only on the thread that made it, and one of ours is part of
    reference cycles. Left to chance, they might be collected on another thread, such as a progress
    bar's; Nautilus then complains on stderr and leaks the strategy.
    """

    @functools.wraps(trade)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return trade(*args, **kwargs)
        finally:
            gc.collect()

    return wrapper
