"""What clients ask: REST queries, order commands and socket messages, in Bybit's v5 field names.

An empty field of a query counts as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

CATEGORY = "linear"

type Action = Literal["create", "amend", "cancel"]
type Steps = str | int | float
"""A price or a size; Bybit wants text."""


class Request(msgspec.Struct, rename="camel"):
    """What every request may name: the category and symbol that it is about."""

    category: str = CATEGORY
    symbol: str | None = None


class PagedRequest(Request):
    """A list, page by page; the cursor is what the page before answered with."""

    cursor: int | None = None
    limit: int | None = None


class OrderListRequest(PagedRequest):
    """Orders, one of them where an id is given."""

    order_id: str | None = None
    order_link_id: str | None = None
    open_only: int = 0


class ExecutionListRequest(PagedRequest):
    """Executions of a time span in ms."""

    order_id: str | None = None
    order_link_id: str | None = None
    start_time: int | None = None
    end_time: int | None = None


class LeverageRequest(Request, kw_only=True):
    buy_leverage: Steps


class DeadManRequest(Request, kw_only=True):
    time_window: int


class OrderRequest(Request):
    """What all order commands name: the order, by the exchange's id or the client's."""

    order_id: str | None = None
    order_link_id: str | None = None


class CreateRequest(OrderRequest, kw_only=True):
    side: Literal["Buy", "Sell"]
    qty: Steps
    order_type: str | None = None
    price: Steps | None = None
    time_in_force: str | None = None
    reduce_only: bool | None = None


class AmendRequest(OrderRequest, kw_only=True):
    price: Steps | None = None
    qty: Steps | None = None


class CancelRequest(OrderRequest):
    pass


class BatchRequest[T: OrderRequest](msgspec.Struct):
    """Commands of one kind; the category is all theirs."""

    request: list[T] = []
    category: str = CATEGORY


class CommandHeader(msgspec.Struct):
    """When a command was sent, and for how long it is good, ms."""

    stamp: str | int = msgspec.field(default="", name="X-BAPI-TIMESTAMP")
    window: str | int = msgspec.field(default="", name="X-BAPI-RECV-WINDOW")


class SocketRequest(msgspec.Struct):
    """One message of a client; `args` is read by what `op` says."""

    op: str = ""
    req_id: str | int | None = ""
    command_id: str | int | None = msgspec.field(default="", name="reqId")
    header: CommandHeader = msgspec.field(default_factory=CommandHeader)
    args: msgspec.Raw = msgspec.Raw(b"[]")


def from_query[T](query: Mapping[str, str], kind: type[T]) -> T:
    """Read the query of a GET; raises `msgspec.ValidationError`."""
    return msgspec.convert({name: text for name, text in query.items() if text}, kind, strict=False)


def from_json[T](text: str | bytes | msgspec.Raw, kind: type[T]) -> T:
    """Read the body of a POST or of a command; raises `msgspec.DecodeError`."""
    return msgspec.json.decode(text or b"{}", type=kind, strict=False)
