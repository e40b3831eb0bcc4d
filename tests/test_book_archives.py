"""Any run of snapshots and changes, in Bybit's and in OKX's words, comes to the book that a plain replay comes to."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.contracts import ContractTable
from market.events import ASK, BID, BookUpdate
from market.level_book import LevelBook
from tests.dirty import MS, T0
from venues.recordings.loaders import LOADERS, recordings
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

_TABLE = ContractTable()
_LEVELS = st.dictionaries(st.integers(1, 12), st.integers(0, 3), max_size=5)
_MESSAGES = st.lists(st.tuples(st.integers(0, 9).map(lambda n: n == 0), _LEVELS, _LEVELS), max_size=25)


def rows(levels: dict[int, int]) -> list[list[str]]:
    return [[f"{100 + price / 10:.1f}", f"{size / 100:.2f}"] for price, size in levels.items()]


def bybit(number: int, is_snapshot: bool, bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
    data = {"s": "BTCUSD", "b": rows(bids), "a": rows(asks), "u": 100 + number, "seq": 5 * number}
    kind = "snapshot" if is_snapshot else "delta"
    return {"topic": "orderbook.500.BTCUSD", "type": kind, "ts": T0 // MS + number, "data": data}


def okx(number: int, is_snapshot: bool, bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
    kind = "snapshot" if is_snapshot else "update"
    stamp = str(T0 // MS + number // 2)  # two updates of one time are one change
    return {"instId": "BTC-USDT-SWAP", "action": kind, "ts": stamp, "asks": rows(asks), "bids": rows(bids)}


@pytest.mark.parametrize(("write", "lot"), [(bybit, 1.0), (okx, 0.01)])
@given(messages=_MESSAGES)
def test_the_book_is_that_of_a_plain_replay(write: Any, lot: float, messages: list[Any]) -> None:
    scale = round(lot * 100) or 1  # sizes are whole lots
    stream = [(True, {5: 2}, {9: 1}), *messages]
    sizes = [(first, *({p: s * scale for p, s in side.items()} for side in both)) for first, *both in stream]
    expected: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
    for first, *both in stream:
        for side, levels in zip((BID, ASK), both, strict=True):
            if first:
                expected[side].clear()
            for price, size in levels.items():
                expected[side].pop(price, None)
                expected[side].update({price: size} if size else {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.data.gz"
        path.write_bytes(gzip.compress("\n".join(json.dumps(write(i, *row)) for i, row in enumerate(sizes)).encode()))
        (recording,) = recordings([path])
        findings, book, last = Findings(), LevelBook(), 0
        for event in LOADERS[recording.format].events(recording, RecordingTerms(_TABLE), findings):
            assert isinstance(event, BookUpdate)
            assert event.ts_recv >= last
            last = event.ts_recv
            book.apply(event)
    assert not findings.total()
    assert {price - 1000: size for price, size in book.bids.items()} == expected[BID]
    assert {price - 1000: size for price, size in book.asks.items()} == expected[ASK]
