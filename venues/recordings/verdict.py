"""Whether a backtest on a recorded day means anything: usable, with care, or not, and why."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from venues.recordings.quality import Quality

type Word = Literal["usable", "care", "unusable"]
type Share = Annotated[float, Meta(ge=0, le=1)]

_WORDS: tuple[Word, ...] = ("usable", "care", "unusable")
_WRONG = (
    "off_tick", "crossed", "no_quote", "out_of_order", "far_stamp", "volume_fell", "unknown_order", "no_side",
    "no_price", "duplicate_order", "volume_across_gap", "first_volume_unplaced", "size_rounded_to_lot",
    "out_of_priority", "more_than_rested",
)  # fmt: skip
"""Reasons for which rows were left out or changed that say something of the recording's worth."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share above `care` needs care, above `unusable` spoils the day."""

    care: Share
    unusable: Share


class Minutes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fewer minutes need care, or spoil the day."""

    care: Annotated[float, Meta(ge=0)] = 10.0
    unusable: Annotated[float, Meta(ge=0)] = 1.0


class VerdictConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when on a recorded day needs care, and from when on it cannot be used.

    Parameters
    ----------
    crossed, one_sided : Bounds
        Share of the book updates after which the book is crossed, or has one side only.
    lost : Bounds
        Gaps in the sequence of messages, as a share of the updates: the book may be wrong after each.
    left_out : Bounds
        Rows left out or changed because they could not be right, as a share of updates and trades.
    clock : Bounds
        Events whose time ran backwards and was held, as a share of updates and trades.
    silent : Bounds
        Gaps of more than 5 s within sessions, as a share of the time. A quiet contract looks like a lost feed, and
        quotes are pulled meanwhile: by itself it spoils nothing.
    minutes : Minutes
        Of two-sided book.

    """

    crossed: Bounds = Bounds(0.0, 0.01)
    one_sided: Bounds = Bounds(0.01, 0.5)
    lost: Bounds = Bounds(0.0, 0.01)
    left_out: Bounds = Bounds(0.01, 0.2)
    clock: Bounds = Bounds(0.0, 0.2)
    silent: Bounds = Bounds(0.02, 1.0)
    minutes: Minutes = Minutes()


class Verdict(msgspec.Struct, frozen=True):
    """The word, and the reasons for it: those that spoil the day first."""

    verdict: Word
    reasons: list[str]


def judge(quality: Quality, config: VerdictConfig) -> Verdict:
    """Judge a measured day."""
    q, drops = quality, quality.drops
    updates, events = max(q.book_updates, 1), max(q.book_updates + q.trades, 1)
    wrong = sum(drops.get(name, 0) for name in _WRONG)
    named = ", ".join(f"{name} {drops[name]:,}" for name in _WRONG if drops.get(name))
    held, gaps = drops.get("clock_back", 0), drops.get("sequence_gap", 0)
    time = q.gap_s + q.covered_s
    minutes = q.covered_s / 60.0
    found = [
        _over(q.crossed / updates, config.crossed, f"{q.crossed:,} crossed book states: quotes are pulled meanwhile"),
        _over(q.one_sided / updates, config.one_sided, f"{q.one_sided / updates:.1%} of updates leave a side empty"),
        _over(gaps / updates, config.lost, f"{gaps:,} gaps in the sequence: the book may be wrong after each"),
        _over(wrong / (events + wrong), config.left_out, f"{wrong:,} rows were left out or changed ({named})"),
        _over(held / events, config.clock, f"the clock ran backwards: {held:,} events bear the time it was held at"),
        _over(q.gap_s / time if time else 0.0, config.silent, f"{q.gap_s:,.0f} s of silence in {len(q.gaps):,} gaps"),
        (
            2 if minutes < config.minutes.unusable else int(minutes < config.minutes.care),
            f"only {q.covered_s:.0f} s of two-sided book: too little to judge a strategy"
            if q.book_updates
            else "no book, trades alone: there is nothing to quote against",
        ),
    ]
    found += [(1, text) for text in q.warnings]
    worst = max(grade for grade, _ in found)
    reasons = [text for grade in (2, 1) for at, text in found if at == grade]
    return Verdict(_WORDS[worst], reasons)


def worst(verdicts: list[Verdict]) -> Word:
    """The verdict on several days: that of the worst."""
    return max((v.verdict for v in verdicts), key=_WORDS.index, default="usable")


def _over(share: float, bounds: Bounds, text: str) -> tuple[int, str]:
    return 2 if share > bounds.unusable else int(share > bounds.care), text
