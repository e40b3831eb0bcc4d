"""Traders as processes, held to no deadline but the one that a test is about: a slow machine is no fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.config import Config
from engine.drill.attempt import Try

HUNG_S = 300.0
"""What has not come by then never will: no test is judged by it unless something hangs."""

_PATIENT: dict[str, Any] = {
    "guard": {
        "data": {"stale_s": HUNG_S, "max_lag_ms": 1e3 * HUNG_S},
        "model": {"deadline_ms": 1e3 * HUNG_S},
    },
    "live": {
        "answer_s": HUNG_S, "request_s": 60.0, "unreachable_s": HUNG_S, "heartbeat_timeout_s": HUNG_S, "start_s": HUNG_S,
        "dead_man_s": 300, "audits": 1000, "max_clock_offset_ms": 1e3 * HUNG_S,
    },
}  # fmt: skip

SILENCE = {"live": {"heartbeat_timeout_s": 5.0}}
"""For tests of a trader or a watchdog that has fallen silent."""

_ABOUT: dict[str, dict[str, Any]] = {
    "public_half_open": {"guard": {"data": {"stale_s": 1.5}}},
    "private_half_open": {"live": {"answer_s": 4.0, "audits": 4}},
    "hung_trader": SILENCE,
    "disk_full": SILENCE,
    "kill_both": {"live": {"dead_man_s": 3}},
}


def _merge(tree: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


class PatientTry(Try):
    """A try whose trader has the deadlines that its fault is about, and no others."""

    patience = 10.0
    about: dict[str, Any] = {}
    """Deadlines of a try that is no drill's."""

    def _configure(self, base: Config, table: Path, quick: Path, quick_hash: str) -> Config:
        tree = msgspec.to_builtins(super()._configure(base, table, quick, quick_hash))
        _merge(tree, _PATIENT)
        _merge(tree, self.about or _ABOUT.get(self.folder.name.rpartition("-")[0], {}))
        return msgspec.convert(tree, Config)
