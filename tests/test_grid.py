"""Levels of a whole message are read as each is alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, Level
from venues.recordings.loaders.units import Grid

_CONTRACT = ContractTable().by_id("BTCUSDT-PERP.BINANCE", dt.date(2024, 7, 19))
words = st.sampled_from(("0", "0.000", "0.0001", "0.0015", "0.001", "1.0", "1e3", "64000.1", "64000.15", "-1", "9e13"))


sides = st.lists(st.tuples(words, words), max_size=6)


@given(sides, sides)
def test_a_message_is_read_as_its_levels(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
    def read(at_once: bool) -> tuple[list[Level] | str, Counter[str]]:
        grid = Grid(_CONTRACT, Counter())
        try:
            for _ in range(2):  # the second time prices are known
                if at_once:
                    found = grid.levels(bids, asks)
                else:
                    rows = [(side, *row) for side, half in ((BID, bids), (ASK, asks)) for row in half]
                    found = [level for row in rows if (level := grid.level(*row)) is not None]
        except DataError as error:
            return str(error), Counter()
        return found, grid.counts

    assert read(at_once=True) == read(at_once=False)
