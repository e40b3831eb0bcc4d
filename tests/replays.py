"""Replays as fast as they go, which stand still where a test asks something of their trader.

A trader looks for requests by a timer of this machine: how far its market has come by then is chance.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.live.trading.paper_run import Paper


class Standstill:
    """Holds replays up.

    Parameters
    ----------
    monkeypatch : MonkeyPatch

    Attributes
    ----------
    until : callable or None
        The market does not go on before it says True; asked again and again.

    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.until: Callable[[], bool] | None = None
        settled = Paper.is_settled
        monkeypatch.setattr(Paper, "is_settled", lambda paper: settled(paper) and self._is_over())

    def _is_over(self) -> bool:
        if self.until is not None and self.until():
            self.until = None
        return self.until is None
