"""Symbols of exchanges as the contract table and Nautilus write them: what more than one format needs."""

from __future__ import annotations

import re

_BYBIT_INVERSE = re.compile(r"[A-Z0-9]+USD(?:[FGHJKMNQUVXZ]\d\d)?")


def binance_future(symbol: str) -> str:
    """A perpetual's symbol is that of the spot market; others bear an end (`BTCUSDT_240927`, `BTCUSD_PERP`)."""
    return symbol if "_" in symbol else f"{symbol}-PERP"


def is_bybit_inverse(symbol: str) -> bool:
    """Whether a derivative of Bybit is coin-margined: `BTCUSD`, `BTCUSDZ25`."""
    return _BYBIT_INVERSE.fullmatch(symbol) is not None
