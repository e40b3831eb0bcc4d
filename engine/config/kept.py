"""Configurations that programs keep, in journals and state folders, by this version or an earlier one.

A person who writes a former name is told the new one; what a program wrote is read as it was meant.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.config.sections import Config

_FORMER = (
    (("train", "teacher"), "body", "backbone"),
    (("train",), "contestants", "baselines"),
    (("calibrate",), "phantoms", "orders"),
)
"""Group of keys, former name, name."""


def rename_former(tree: dict[str, Any]) -> dict[str, Any]:
    """Give keys of a kept configuration the names that they have now, in place."""
    for group, former, now in _FORMER:
        found: Any = tree
        for key in group:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and former in found:
            found.setdefault(now, found.pop(former))
    return tree


def read_kept(data: bytes) -> Config:
    """Decode a kept configuration.

    Raises
    ------
    msgspec.DecodeError
        It is none.

    """
    return msgspec.convert(rename_former(msgspec.json.decode(data, type=dict[str, Any])), Config)
