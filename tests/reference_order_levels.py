"""Who stands at each level of a recording that names orders, in plain Python: what the compiled rule is held against."""

from __future__ import annotations


class OrderLevels:
    """Orders by level, first come first. An order that grows goes to the end of its level's queue."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}  # by order: lots, row it joined with

    def clear(self) -> None:
        """The book was emptied."""
        self._levels.clear()

    def step(self, side: int, price: int, size: int, order: int, row: int) -> tuple[int, int]:
        """A level came to `size` lots with the recording's row `row`, by a change of one order.

        Returns
        -------
        tuple[int, int]
            Lots that the order had there before, 0 where it did not stand there, and the row with which it had last
            joined the end of the queue, -1 likewise.

        """
        level = self._levels.get((side, price), {})
        stood, joined = level.get(order, (0, -1))
        if size == 0:
            self._levels.pop((side, price), None)
            return stood, joined
        before = sum(lots for lots, _ in level.values())
        left = stood + size - before
        if size > before:
            level.pop(order, None)  # what grows goes to the end
        if left > 0:
            level[order] = (left, row if size > before else joined)
        else:
            level.pop(order, None)
        self._levels[side, price] = level
        return stood, joined

    def orders(self, side: int, price: int) -> dict[int, int]:
        """Lots by order at a price, first come first."""
        return {order: lots for order, (lots, _) in self._levels.get((side, price), {}).items()}
