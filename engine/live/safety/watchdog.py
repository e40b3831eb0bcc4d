"""The watchdog: a process beside the trader that asks the venue itself, and pulls everything when the trader cannot.

It watches three things. The trader's heartbeat: silence or death, and it cancels all orders and
verifies. The venue's word on orders and position against the trader's: a lasting difference stops
the trader. The lifeline, a private stream that the venue's dead man's switch hangs on: when trader and
watchdog are both gone, the venue cancels by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import aiohttp

from engine.config import Config
from engine.config.kept import read_kept
from engine.live.safety.account import cancel_everything, keys, open_client
from engine.live.safety.alarms import Alarms
from engine.live.safety.state import Heartbeat, StateFolder, WatchdogBeat, is_alive
from engine.recordings.catalog import contract_table
from market.contracts import Contract
from venues.live.account_client import AccountClient, AccountClientError
from venues.live.adapters_config import urls
from venues.live.lifeline import lifeline

_BEAT_S = 0.1
_RESCUE_S = 600.0


class Watchdog:
    """Watches one trader."""

    def __init__(self, config: Config, contract: Contract, pid: int) -> None:
        self._config, self._contract, self._pid = config, contract, pid
        self._state = StateFolder(Path(config.live.state))
        self._alarms = Alarms(self._state.path / "alarms.jsonl", config.live.webhook, "watchdog")
        self._keys = keys(config.live)
        self._client = open_client(config.live, contract, self._keys)
        self._beat = WatchdogBeat(os.getpid(), time.monotonic_ns())
        self._differences: dict[str, dict[str, int]] = {
            reason: {} for reason in ("drift", "unknown_order", "lost_order", "mark_drift")
        }
        self._heard = time.monotonic()
        self._lifeline_down = time.monotonic()

    async def run(self) -> int:
        """Watch until the trader has ended; return the exit code."""
        live = self._config.live
        tasks = []
        if live.dead_man_s:
            await self._client.set_dead_man(live.dead_man_s)
            socket = urls(live.environment, live.base_url)[1]
            tasks.append(asyncio.create_task(lifeline(socket, *self._keys, self._lifeline)))
        tasks.append(asyncio.create_task(self._audit_for_ever()))
        try:
            return await self._watch()
        finally:
            for task in tasks:
                task.cancel()
            await self._client.close()
            self._alarms.close()

    def _lifeline(self, is_up: bool) -> None:
        if self._beat.lifeline and not is_up:
            self._lifeline_down = time.monotonic()
            self._alarms.raise_("lost_stream", f"{self._contract.id}: the dead man's switch has lost its connection")
        self._beat.lifeline = is_up

    async def _watch(self) -> int:
        live = self._config.live
        while True:
            now = time.monotonic()
            self._beat.mono_ns = time.monotonic_ns()
            self._beat.unreachable_s = now - self._heard if self._beat.audits else 0.0
            with suppress(OSError):  # a full disk silences us: the trader stops, and so do we when it has
                self._state.watchdog_beat(self._beat)
            beat = self._state.heartbeat()
            if beat is not None and beat.pid == self._pid and beat.phase == "stopped":
                return await self._last_look()
            if not is_alive(self._pid):
                return await self._rescue("trader_died")
            silence = (time.monotonic_ns() - beat.mono_ns) / 1e9 if beat is not None else 0.0
            patience = live.heartbeat_timeout_s if beat is not None and beat.phase == "trading" else live.start_s
            if silence > patience:
                return await self._rescue("trader_silent")
            if self._beat.unreachable_s > live.unreachable_s:
                self._stop("venue_unreachable", f"no answer for {self._beat.unreachable_s:.1f} s")
            if live.dead_man_s and not self._beat.lifeline and now - self._lifeline_down > live.unreachable_s:
                self._stop("lost_stream", "the lifeline stays down")
            await asyncio.sleep(_BEAT_S)

    def _stop(self, reason: str, detail: str) -> None:
        """Ask the trader to stop, once."""
        request = self._state.stop_request()
        if request is None:
            self._alarms.raise_(reason, f"{self._contract.id}: {detail}")
            with suppress(OSError):
                self._state.ask_to_stop(reason, "watchdog")

    # ── the venue's word ──────────────────────────────────────────────────────────────────────

    async def _audit_for_ever(self) -> None:
        while True:
            try:
                await self._audit()
                self._heard = time.monotonic()
                self._beat.audits += 1
            except (AccountClientError, aiohttp.ClientError, OSError, KeyError, ValueError) as error:
                print(f"audit: {error}", flush=True)
                self._beat.others_gross = self._beat.others_net = None
            await asyncio.sleep(self._config.live.audit_s)

    async def _audit(self) -> None:
        """Compare the venue's word with two heartbeats, one from before the question and one from after the answer."""
        before = self._state.heartbeat()
        position, orders, positions, mid = await asyncio.gather(
            self._client.position_lots(), self._client.open_orders(), self._client.positions(), self._client.mid_ticks()
        )
        own = self._contract.symbol.removesuffix("-LINEAR")
        others = [float(p.notional) for p in positions if p.symbol != own]
        self._beat.others_gross, self._beat.others_net = sum(map(abs, others)), sum(others)
        after = await self._next_beat()
        if before is None or after is None or not before.phase == after.phase == "trading":
            return
        resting = {order.link_id for order in orders}
        self._judge("unknown_order", resting - set(before.orders) - set(after.orders))
        self._judge("lost_order", (set(before.orders) & set(after.orders)) - resting)
        if before.fills == after.fills:
            self._judge("drift", {f"{position} lots"} if position != after.position else set(), after)
        if not (before.problem or after.problem):
            far = self._is_far(before.mid, mid) and self._is_far(after.mid, mid)
            self._judge("mark_drift", {"mid"} if far else set(), after)

    async def _next_beat(self) -> Heartbeat | None:
        """A heartbeat that was written after now."""
        now = time.monotonic_ns()
        for _ in range(40):
            beat = self._state.heartbeat()
            if beat is not None and beat.mono_ns > now:
                return beat
            await asyncio.sleep(0.05)
        return None

    def _judge(self, reason: str, found: set[str], beat: Heartbeat | None = None) -> None:
        """Count how often the same difference was seen in a row; act when it lasts."""
        counts = {what: self._differences[reason].get(what, 0) + 1 for what in found}
        self._differences[reason] = counts
        lasting = sorted(what for what, count in counts.items() if count == self._config.live.audits)
        if not lasting:
            return
        detail = f"{', '.join(lasting)} at the venue or the trader only"
        if beat is not None:
            detail = f"{', '.join(lasting)} at the venue; the trader has {beat.position} lots, mid {beat.mid}"
        if reason == "drift":
            self._alarms.raise_(reason, f"{self._contract.id}: {detail}")
            self._state.latch(reason, detail, "watchdog")
        else:
            self._stop(reason, detail)

    def _is_far(self, ours: float | None, venues: float | None) -> bool:
        return (
            ours is not None
            and venues is not None
            and abs(ours - venues) > self._config.live.max_mid_drift_bps * 1e-4 * venues
        )

    # ── when the trader cannot ────────────────────────────────────────────────────────────────

    async def _rescue(self, reason: str) -> int:
        """The trader is gone, or hangs: see to it that it stays so, and that nothing rests."""
        if is_alive(self._pid):
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)  # it must not come back to life and quote
        return await _clear(self._client, self._alarms, reason, self._contract.id)

    async def _last_look(self) -> int:
        wound = await cancel_everything(self._client, 20.0)
        return 0 if wound.resting == 0 else 5


async def stand_by(config: Config, instrument: str) -> None:
    """Watch whichever trader comes to life in the state folder, one after the other, until cancelled.

    A heartbeat that nobody watched and that has fallen silent is from a crash: orders may rest, and are
    cancelled. Its process is left alone, since by now the number may be another one's.
    """
    state = StateFolder(Path(config.live.state))
    contract = contract_table(config).by_id(instrument)
    credentials = keys(config.live)  # a watchdog without them would be found out too late
    dealt_with = 0
    while True:
        beat = state.heartbeat()
        if beat is not None and beat.phase != "stopped" and beat.mono_ns != dealt_with:
            age = (time.monotonic_ns() - beat.mono_ns) / 1e9
            is_fresh = 0.0 <= age < config.live.heartbeat_timeout_s
            settings = state.kept_config() or config
            if is_fresh and is_alive(beat.pid):
                print(f"watching process {beat.pid}", flush=True)
                code = await Watchdog(settings, contract, beat.pid).run()
                print(f"process {beat.pid} has ended; {code}", flush=True)
                last = state.heartbeat()
                dealt_with = last.mono_ns if last is not None else 0
            elif not state.is_taken() or not 0.0 <= age < config.live.start_s:
                dealt_with = beat.mono_ns
                alarms = Alarms(state.path / "alarms.jsonl", settings.live.webhook, "watchdog")
                client = open_client(settings.live, contract, credentials)
                try:
                    await _clear(client, alarms, "trader_died", instrument)
                finally:
                    await client.close()
                    alarms.close()
        await asyncio.sleep(_BEAT_S)


async def _clear(client: AccountClient, alarms: Alarms, reason: str, instrument: str) -> int:
    """Cancel everything and tell how it went; return the exit code."""
    alarms.raise_(reason, f"{instrument}: cancelling everything")
    wound = await cancel_everything(client, _RESCUE_S)
    if wound.resting != 0:
        alarms.raise_("unsafe", f"{instrument}: could not verify that no order rests at the venue")
        return 5
    alarms.raise_("safe", f"{instrument}: no order rests, after {wound.seconds:.1f} s")
    return 4


def main(settings: str, instrument: str, pid: str) -> int:
    """Entry of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the trader's
    config = read_kept(Path(settings).read_bytes())
    contract = contract_table(config).by_id(instrument)
    return asyncio.run(Watchdog(config, contract, int(pid)).run())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
