"""Which fills count: a simulation tells each once and in order, a venue may repeat itself and overtake itself."""

from __future__ import annotations

from typing import Protocol

_TRADES_KEPT = 4096


class FillPolicy(Protocol):
    """What to make of the venue's fills."""

    def is_repeated(self, trade_id: str) -> bool:
        """Whether this fill was told before."""

    def allow_unknown(self, order_id: str, lots: int) -> None:
        """A fill of an order that is not working; raise where that cannot be."""


class ExactFills:
    """A simulation's: each fill is told once, while its order works. Anything else is a fault of ours."""

    def is_repeated(self, trade_id: str) -> bool:
        return False

    def allow_unknown(self, order_id: str, lots: int) -> None:
        raise RuntimeError(f"a fill of {lots} lots for an order we do not know: {order_id}")


class VenueFills:
    """A real venue's: fills may be told twice, and after their order's end."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}

    def is_repeated(self, trade_id: str) -> bool:
        if trade_id in self._seen:
            return True
        self._seen[trade_id] = None
        if len(self._seen) > _TRADES_KEPT:
            del self._seen[next(iter(self._seen))]
        return False

    def allow_unknown(self, order_id: str, lots: int) -> None:
        """Messages overtake each other: the order's end came before its fill."""
