"""What a loader left out, changed or noticed: counts by reason and remarks, instrument by instrument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Findings:
    """Counts and remarks of one import.

    Parameters
    ----------
    shared : Counter
        Of rows that belong to no instrument (control messages, unknown contracts).

    """

    def __init__(self) -> None:
        self.shared: Counter[str] = Counter()
        self._counts: dict[str, Counter[str]] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self._taken: dict[str, Counter[str]] = {}
        self._shared_taken: Counter[str] = Counter()

    def of(self, instrument_id: str) -> Counter[str]:
        """The counter of one instrument, by reason."""
        return self._counts.setdefault(instrument_id, Counter())

    def note(self, instrument_id: str, key: str, text: str) -> None:
        """Remark something of a whole recording, in a sentence; a later one with the same key replaces it."""
        self._notes.setdefault(instrument_id, {})[key] = text

    def take(self, instrument_id: str) -> tuple[dict[str, int], list[str]]:
        """Counts and remarks of an instrument since they were last taken; what is shared goes to the first who asks."""
        own = self.of(instrument_id)
        new = sum_counts([own - self._taken.get(instrument_id, Counter()), self.shared - self._shared_taken])
        self._taken[instrument_id], self._shared_taken = own.copy(), self.shared.copy()
        return dict(new), list(self._notes.pop(instrument_id, {}).values())

    def total(self) -> Counter[str]:
        """All counts together."""
        return sum_counts([self.shared, *self._counts.values()])


def sum_counts(counts: Iterable[dict[str, int]]) -> Counter[str]:
    """Counts by reason, added up; reasons that came to nothing are left out."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return +total
