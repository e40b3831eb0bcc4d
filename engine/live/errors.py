"""How a run ends, for whoever started it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `cmm live` and `cmm halt`."""

    OK = 0
    REFUSED = 2
    """The start was refused: a sentence says why."""
    HALTED = 3
    """Stopped for good: nothing starts until a person clears the latch (`cmm halt --clear`)."""
    STOPPED = 4
    """Stopped by a fault, safely: it may be started again."""
    UNSAFE = 5
    """It could not be verified that nothing rests at the venue: look there yourself, now."""


class HaltedError(Exception):
    """A latch on disk forbids trading."""
