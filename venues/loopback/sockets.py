"""Sockets: authentication, subscriptions, pings, and order commands on the trade socket.

Source: https://bybit-exchange.github.io/docs/v5/ws/connect and …/v5/websocket/trade/guideline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import WSMsgType, web

from venues.loopback.auth import WINDOW_MS, Credentials, check_time
from venues.loopback.commands import Commands
from venues.loopback.dead_man import DeadMan
from venues.loopback.errors import UNDERSTOOD, Refusal, as_refusal
from venues.loopback.exchange import Exchange
from venues.loopback.public_stream import PublicStream
from venues.loopback.requests import (
    AmendRequest,
    BatchRequest,
    CancelRequest,
    CreateRequest,
    OrderRequest,
    SocketRequest,
    from_json,
)
from venues.loopback.streams import Stream, Streams, kind_of

type RequestId = str | int | None
type Operation = Callable[[msgspec.Raw], tuple[object, object]]
"""Carries out a command by its arguments; what it answers with, and what it adds to that."""

_MAX_MESSAGE = 1 << 22


class Pong(msgspec.Struct, kw_only=True):
    success: bool = True
    ret_msg: str = "pong"
    conn_id: str = "1"
    req_id: RequestId
    op: str = "ping"


class Subscribed(msgspec.Struct, kw_only=True):
    success: bool
    ret_msg: str = ""
    conn_id: str = "1"
    req_id: RequestId
    op: str


class Authorised(msgspec.Struct, kw_only=True):
    success: bool
    ret_msg: str = ""
    op: str = "auth"
    conn_id: str = "1"
    req_id: RequestId


class TradeAuthorised(msgspec.Struct, rename="camel", kw_only=True):
    req_id: RequestId
    ret_code: int
    ret_msg: str
    op: str = "auth"
    conn_id: str = "1"


class AnswerHeader(msgspec.Struct):
    limit: str = msgspec.field(name="X-Bapi-Limit")
    now: str = msgspec.field(name="Timenow")


class Answer(msgspec.Struct, rename="camel", kw_only=True):
    """What a command came to."""

    req_id: RequestId
    ret_code: int = 0
    ret_msg: str = "OK"
    op: str
    data: object = msgspec.field(default_factory=dict)
    ret_ext_info: object = msgspec.field(default_factory=dict)
    header: AnswerHeader
    conn_id: str = "1"


class Sockets:
    """Serves the clients' sockets.

    Parameters
    ----------
    exchange : Exchange
    credentials : Credentials
    streams : Streams
    public : PublicStream
    commands : Commands
    dead_man : DeadMan
    flush : callable
        Tells everybody what has changed.

    """

    def __init__(
        self, exchange: Exchange, credentials: Credentials, streams: Streams, public: PublicStream,
        commands: Commands, dead_man: DeadMan, flush: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._exchange, self._credentials, self._streams = exchange, credentials, streams
        self._public, self._commands, self._dead_man, self._flush = public, commands, dead_man, flush
        self._operations: dict[str, Operation] = {
            "order.create": self._one(CreateRequest),
            "order.amend": self._one(AmendRequest),
            "order.cancel": self._one(CancelRequest),
            "order.create-batch": self._batch(BatchRequest[CreateRequest]),
            "order.amend-batch": self._batch(BatchRequest[AmendRequest]),
            "order.cancel-batch": self._batch(BatchRequest[CancelRequest]),
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until it closes; a client that sends no JSON is closed."""
        if self._exchange.faults.refuse_sockets or self._exchange.faults.banned:
            return web.Response(status=403)
        socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE)
        await socket.prepare(request)
        stream = Stream(socket, kind_of(request.path))
        self._streams.add(stream)
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._read(stream, msgspec.json.decode(message.data, type=SocketRequest))
        except (ConnectionError, msgspec.DecodeError):
            pass
        finally:
            self._streams.remove(stream)
            if stream.kind == "private":
                self._dead_man.arm()
        return socket

    async def _read(self, stream: Stream, request: SocketRequest) -> None:
        if request.op == "ping":
            await self._ping(stream, request)
        elif request.op == "auth":
            await self._authorise(stream, request)
        elif request.op in ("subscribe", "unsubscribe"):
            await self._subscribe(stream, request)
        elif request.op.startswith("order."):
            await self._trade(stream, request)

    async def _ping(self, stream: Stream, request: SocketRequest) -> None:
        faults = self._exchange.faults
        is_mute = {"private": faults.private_mute, "public": faults.public_mute, "trade": False}[stream.kind]
        if not is_mute:
            await stream.send(Pong(req_id=request.req_id))

    async def _authorise(self, stream: Stream, request: SocketRequest) -> None:
        arguments = from_json(request.args, list[str | int])
        good = stream.is_authorised = self._credentials.opens_socket(arguments, self._exchange.now_ms())
        if stream.kind != "trade":
            await stream.send(Authorised(success=good, req_id=request.req_id))
            return
        wrong = Refusal.SOCKET_SIGNATURE
        await stream.send(
            TradeAuthorised(
                req_id=request.command_id, ret_code=0 if good else wrong.code, ret_msg="OK" if good else wrong.text
            )
        )

    async def _subscribe(self, stream: Stream, request: SocketRequest) -> None:
        topics, adds = set(from_json(request.args, list[str])), request.op == "subscribe"
        allowed = stream.kind == "public" or stream.is_authorised
        if allowed:
            stream.topics = stream.topics | topics if adds else stream.topics - topics
        await stream.send(Subscribed(success=allowed, req_id=request.req_id, op=request.op))
        if allowed and adds:
            await self._public.send_snapshots(stream, topics)
            self._dead_man.subscribed(topics)

    # ── order commands ────────────────────────────────────────────────────────────────────────

    async def _trade(self, stream: Stream, request: SocketRequest) -> None:
        if self._exchange.faults.use("lose_commands"):
            return
        if delay_s := self._exchange.faults.command_delay_s:
            self._streams.spawn(self._carry_out_later(delay_s, stream, request))
        else:
            await self._carry_out(stream, request)

    async def _carry_out_later(self, delay_s: float, stream: Stream, request: SocketRequest) -> None:
        await asyncio.sleep(delay_s)
        await self._carry_out(stream, request)

    async def _carry_out(self, stream: Stream, request: SocketRequest) -> None:
        exchange, faults = self._exchange, self._exchange.faults
        answer = Answer(
            req_id=request.command_id, op=request.op, header=AnswerHeader(str(exchange.orders_per_s), "")
        )  # fmt: skip
        try:
            self._check(stream, request)
            answer.data, answer.ret_ext_info = self._operation(request.op)(request.args)
        except UNDERSTOOD as error:
            refused = as_refusal(error)
            answer.ret_code, answer.ret_msg = refused.code, str(refused)
        answer.header.now = str(exchange.now_ms())
        if not faults.use("drop_acks"):
            if faults.ack_delay_s:
                self._streams.send_later(faults.ack_delay_s, stream, msgspec.json.encode(answer).decode())
            else:
                await stream.send(answer)
        await self._flush()

    def _check(self, stream: Stream, request: SocketRequest) -> None:
        if not stream.is_authorised:
            raise Refusal.NOT_AUTHORISED.error()
        now = self._exchange.now_ms()
        check_time(now, request.header.stamp or now, request.header.window or WINDOW_MS)

    def _operation(self, name: str) -> Operation:
        found = self._operations.get(name)
        if found is None:
            raise Refusal.NOT_SERVED.error(what=name)
        return found

    def _one[T: OrderRequest](self, kind: type[T]) -> Operation:
        return lambda arguments: (self._commands.run(from_json(_first(arguments), kind)), {})

    def _batch[T: OrderRequest](self, kind: type[BatchRequest[T]]) -> Operation:
        return lambda arguments: self._commands.run_batch(from_json(_first(arguments), kind))


def _first(arguments: msgspec.Raw) -> msgspec.Raw:
    """The one argument that a command has."""
    rows = from_json(arguments, list[msgspec.Raw])
    return rows[0] if rows else msgspec.Raw(b"{}")
