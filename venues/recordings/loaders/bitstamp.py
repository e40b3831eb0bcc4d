"""Bitstamp order events (L3): created, changed, deleted, by order id; volume x 1e8.

The feed has no trades. A resting order that shrinks (`changed`) or is `deleted` with nothing left
was matched; its side tells the aggressor. The recording starts without a book: it fills up from
the orders created since, so that its first minutes are thin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sortedcontainers import SortedDict

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, Event, OrderUpdate, Trade
from venues.recordings.loaders.base import ArrivalOrder, Recording, Rows, Traits, one_each

_HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction"
_MS = 1_000_000
_VOLUME_UNIT = 1e-8


class BitstampLoader:
    """One CSV of order events of BTC/USD."""

    name = "bitstamp"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return head.startswith(_HEADER)

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        return one_each(self.name, paths)

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        contract = contracts.find("BITSTAMP", "BTCUSD")
        if contract is None:
            raise DataError(f"{recording.files[0]}: no contract terms for BTCUSD on BITSTAMP; add a row for it")
        order = ArrivalOrder()
        sizes: dict[int, tuple[int, bool]] = {}  # order id -> (size, may be matched as a maker)
        crossing = _Touch()
        for row in Rows(recording.files[0]):
            ts = row.integer("timestamp") * _MS
            if not order.admits(ts, f"{row.path}, line {row.line}"):
                drops["out_of_order"] += 1
                continue
            update = _update(row, ts, contract, drops)
            if update is None:
                continue
            oid, action = update.order_id, row.text("action")
            if action == "created":
                sizes[oid] = (update.size, not crossing.taker(update))
            elif oid not in sizes:
                drops["unknown_order"] += 1
                continue
            else:
                before, maker = sizes.pop(oid)
                left = row.integer("volume")
                matched = before - update.size if action == "changed" else before if left == 0 else 0
                if update.size:
                    sizes[oid] = (update.size, maker)
                if maker and matched > 0:
                    aggressor = SELL if update.side == BID else BUY
                    yield Trade(contract.id, update.ts_event, ts, update.price, matched, aggressor)
            crossing.apply(update)
            yield update


class _Touch:
    """Best prices among resting orders, to tell an order that arrives as a taker."""

    def __init__(self) -> None:
        self._counts: dict[int, SortedDict[int, int]] = {BID: SortedDict(), ASK: SortedDict()}
        self._resting: dict[int, tuple[int, int]] = {}

    def taker(self, update: OrderUpdate) -> bool:
        other = self._counts[ASK if update.side == BID else BID]
        if not other:
            return False
        best = int(other.peekitem(0 if update.side == BID else -1)[0])
        return update.price >= best if update.side == BID else update.price <= best

    def apply(self, update: OrderUpdate) -> None:
        known = self._resting.get(update.order_id)
        if known is None and update.size and not self.taker(update):
            counts = self._counts[update.side]
            counts[update.price] = counts.get(update.price, 0) + 1
            self._resting[update.order_id] = (update.side, update.price)
        elif known is not None and not update.size:
            side, price = self._resting.pop(update.order_id)
            counts = self._counts[side]
            counts[price] -= 1
            if not counts[price]:
                del counts[price]


def _update(row: Rows, ts: int, contract: Contract, drops: Counter[str]) -> OrderUpdate | None:
    price = contract.ticks(row.number("price"))
    size = contract.lots(row.number("volume") * _VOLUME_UNIT)
    side = {"bid": BID, "ask": ASK}.get(row.text("direction"))
    action = row.text("action")
    if side is None or action not in ("created", "changed", "deleted"):
        raise row.error("action", "created, changed or deleted with direction bid or ask")
    if price is None or size is None or price <= 0:
        drops["off_tick"] += 1
        return None
    gone = action == "deleted"
    event_ts = row.integer("exchange.timestamp") * _MS
    return OrderUpdate(contract.id, event_ts, ts, row.integer("id"), side, price, 0 if gone else size)
