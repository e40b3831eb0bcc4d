"""Whether the maker quotes, and if not why: a state machine with a table of what may follow what."""

from __future__ import annotations

from enum import Enum, StrEnum


class Reason(StrEnum):
    """Why nothing is quoted. The values are what counts, journals, state files and the monitor show."""

    # before the first quote, and between sessions
    NOT_READY = "not_ready"
    NO_MARK = "no_mark"
    SESSION = "session"
    # the market data
    STALE = "stale"
    GAP = "gap"
    EMPTY = "empty"
    ONE_SIDED = "one_sided"
    CROSSED = "crossed"
    LAGGING = "lagging"
    RECOVERING = "recovering"
    # stopped, but a restart may cure it
    SIGNAL = "signal"
    UNANSWERED = "unanswered"
    WATCHDOG_LOST = "watchdog_lost"
    UNKNOWN_ORDER = "unknown_order"
    LOST_ORDER = "lost_order"
    MARK_DRIFT = "mark_drift"
    VENUE_UNREACHABLE = "venue_unreachable"
    LOST_STREAM = "lost_stream"
    NODE_ENDED = "node_ended"
    # stopped until a person has looked
    LOSS_BUDGET = "loss_budget"
    DRAWDOWN = "drawdown"
    UNKNOWN_PNL = "unknown_pnl"
    EXCEPTION = "exception"
    DRIFT = "drift"
    FOREIGN_FILL = "foreign_fill"
    OPERATOR = "operator"

    @property
    def latches(self) -> bool:
        """Whether a new start is forbidden until a person has looked."""
        return self in _LATCHING

    @property
    def code(self) -> int:
        """Its number in compiled functions, where 0 is none."""
        return REASON_NAMES.index(self.value)

    @classmethod
    def read(cls, text: str) -> Reason:
        """The reason that a file names; one that this version does not know counts as a person's."""
        try:
            return cls(text)
        except ValueError:
            return cls.OPERATOR


REASON_NAMES = ("", *(reason.value for reason in Reason))
"""What compiled functions number: their answers are indices."""

_LATCHING = frozenset(
    (
        Reason.LOSS_BUDGET, Reason.DRAWDOWN, Reason.UNKNOWN_PNL, Reason.EXCEPTION, Reason.DRIFT, Reason.FOREIGN_FILL,
        Reason.OPERATOR,
    )
)  # fmt: skip


class Phase(Enum):
    """Where trading stands."""

    QUOTING = "quoting"
    PULLED = "pulled"
    """Nothing is quoted; the market decides when it is again."""
    PAUSED = "paused"
    """Nothing is quoted until whoever runs the maker says so."""
    HALTED = "halted"
    """Nothing will be quoted any more."""
    FAILED = "failed"
    """A callback raised; nothing is done any more."""


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.QUOTING: frozenset((Phase.QUOTING, Phase.PULLED, Phase.PAUSED, Phase.HALTED, Phase.FAILED)),
    Phase.PULLED: frozenset((Phase.QUOTING, Phase.PULLED, Phase.PAUSED, Phase.HALTED, Phase.FAILED)),
    Phase.PAUSED: frozenset((Phase.PULLED, Phase.PAUSED, Phase.HALTED, Phase.FAILED)),
    Phase.HALTED: frozenset((Phase.FAILED,)),
    Phase.FAILED: frozenset(),
}
"""From a phase to those that may follow. Quoting resumes from a pause through PULLED: the next update decides."""


class TradingState:
    """Phase and reason; moves only along `TRANSITIONS`."""

    def __init__(self) -> None:
        self.phase = Phase.PULLED
        self.reason: Reason | None = Reason.NOT_READY
        self.failure: Exception | None = None

    def quote(self) -> None:
        """All is well: quotes may stand."""
        if self.phase is not Phase.QUOTING:
            self._move(Phase.QUOTING, None)

    def pull(self, reason: Reason) -> None:
        """The market gives a reason not to quote."""
        if self.phase is not Phase.PULLED or self.reason is not reason:
            self._move(Phase.PULLED, reason)

    def pause(self, reason: Reason) -> None:
        """Nothing is quoted until `resume`."""
        self._move(Phase.PAUSED, reason)

    def resume(self) -> None:
        """A pause ends; the next update decides."""
        if self.phase is Phase.PAUSED:
            self._move(Phase.PULLED, Reason.NOT_READY)

    def halt(self, reason: Reason) -> bool:
        """Quoting ends for good; whether it had not ended before."""
        if self.is_over:
            return False
        self._move(Phase.HALTED, reason)
        return True

    def fail(self, error: Exception) -> bool:
        """A callback raised; the first failure stands. Whether this is it."""
        if self.phase is Phase.FAILED:
            return False
        self._move(Phase.FAILED, Reason.EXCEPTION)
        self.failure = error
        return True

    @property
    def is_over(self) -> bool:
        """Whether nothing will be quoted any more."""
        return self.phase is Phase.HALTED or self.phase is Phase.FAILED

    @property
    def halted(self) -> str:
        """Why quoting has ended for good, '' while it has not."""
        return self.reason or "" if self.is_over else ""

    @property
    def paused(self) -> str:
        """Why nothing is quoted until somebody says so, '' where nobody has to."""
        return self.reason or "" if self.phase is Phase.PAUSED else ""

    def _move(self, phase: Phase, reason: Reason | None) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise RuntimeError(f"trading cannot go from {self.phase.value} to {phase.value}")
        self.phase, self.reason = phase, reason
