"""Rows that each tell of one level, gathered into the messages they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from market.events import BookUpdate, Level


class MessageBook:
    """One instrument's message at hand: a change, or a snapshot that replaces the book.

    A snapshot may come in several messages, which bear the exchange's time of the first and show other
    prices; where every message is a snapshot, each replaces the book.
    """

    def __init__(self, instrument_id: str) -> None:
        self.id = instrument_id
        self.has_book = False
        self.message: list[Level] = []
        self.stamp, self.is_snapshot = (0, 0), False  # of the message: exchange and arrival time
        self.held: list[Level] = []  # a snapshot that may go on
        self._held_stamp, self._run, self._shown = (0, 0), 0, set[tuple[int, int]]()

    def goes_on(self, is_snapshot: bool, ts_event: int) -> bool:
        return bool(self.held) and is_snapshot and ts_event == self._run

    def flush(self) -> Iterator[BookUpdate]:
        """The snapshot that was held."""
        if self.held:
            yield BookUpdate(self.id, *self._held_stamp, self.held, snapshot=True)
            self.held = []

    def end_message(self) -> Iterator[BookUpdate]:
        """Take the message at hand: a change, a snapshot, or more of the last snapshot."""
        message, self.message = self.message, []
        if not message:
            return
        shown = {level[:2] for level in message}
        more = self.is_snapshot and self._run == self.stamp[0] and shown.isdisjoint(self._shown)
        if more and self.held:
            self.held += message
            self._held_stamp = self.stamp
        elif more:
            yield BookUpdate(self.id, *self.stamp, message)
        else:
            yield from self.flush()
            if self.is_snapshot:
                self.held, self._held_stamp, self._run = message, self.stamp, self.stamp[0]
                self._shown = set()
            else:
                self._run = 0
                yield BookUpdate(self.id, *self.stamp, message)
        if self.is_snapshot:
            self._shown |= shown


def next_message(
    books: Iterable[MessageBook], book: MessageBook, is_snapshot: bool, ts_event: int
) -> Iterator[BookUpdate]:
    """End the messages at hand of all instruments; the next one is of `book`."""
    for other in books:
        yield from other.end_message()
        if other is not book or not other.goes_on(is_snapshot, ts_event):
            yield from other.flush()
