"""The go-live checklist: what has to hold before the first order, asked of the venue and of the configuration."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.assembly import quoter_kind
from engine.config import Config
from engine.live.deployment.deployment import Deployment
from engine.live.records.store import Store
from engine.live.safety.account import cancel_everything, recover_fills
from engine.plan import Plan
from market.contracts import Contract
from market.errors import ConfigError
from models.ensemble import artifact
from strategies.own_quoter import OwnQuoter
from venues.live.account_client import AccountClient
from venues.live.adapters_config import COMMANDS_PER_S
from venues.simulation.fees import fees_of


class Item(msgspec.Struct, frozen=True):
    """One line of the list."""

    name: str
    holds: bool
    text: str


def check_config(config: Config) -> list[Item]:
    """What the configuration alone decides."""
    limits, guard, live = config.limits, config.guard, config.live
    required = {
        "guard.money.loss_budget": guard.money.loss_budget,
        "guard.data.max_lag_ms": guard.data.max_lag_ms,
        "limits.max_messages_per_s": limits.max_messages_per_s,
        "limits.max_order_notional": limits.max_order_notional,
        "limits.max_gross_notional": limits.max_gross_notional,
    }
    pace = COMMANDS_PER_S[live.venue]
    missing = [key for key, value in required.items() if value is None]
    return [
        Item(
            "armed", live.armed, "live.armed is true" if live.armed else "live.armed is false: set it to true to trade"
        ),
        Item(
            "limits",
            not missing,
            f"set {', '.join(missing)}"
            if missing
            else f"position {limits.max_position_lots} lots, order {limits.max_order_lots} lots, "
            f"{limits.max_open_orders} orders, {limits.max_messages_per_s:g} messages/s, "
            f"loss budget {guard.money.loss_budget:g}",
        ),
        Item(
            "message rate",
            limits.max_messages_per_s is None or limits.max_messages_per_s <= pace,
            f"the adapter of {live.venue} sends {pace} commands a second, cancels included, and lets more wait: "
            f"limits.max_messages_per_s {limits.max_messages_per_s} must not exceed that",
        ),
        Item(
            "recalibration",
            not config.model.recalibrate.enabled,
            "off"
            if not config.model.recalibrate.enabled
            else "model.recalibrate.enabled: it works in backtests only so far",
        ),
    ]


def check_quoter(plan: Plan) -> list[Item]:
    """Which version of the user's own quoter trades, and how it runs."""
    kind = quoter_kind(plan.quoter, plan.quoter_sha256)
    return [Item("quoter", True, kind.note)] if isinstance(kind, OwnQuoter) else []


def check_artifact(config: Config, folder: Path, today: dt.date, deployment: Deployment | None = None) -> list[Item]:
    """Hash, age and feature spec of the artifact that is to trade: the configured one, or one promoted in its place."""
    manifest = artifact.read(folder)
    wanted, how = config.live.artifact_hash, ""
    instead = f"; live.artifact_hash is {wanted}"
    if deployment is not None and deployment.configured == wanted != deployment.trading.hash:
        wanted, how = deployment.trading.hash, f", promoted in the place of {deployment.configured}"
        instead = f"; {wanted} was{how[1:]}"
    if wanted is None:
        items = [Item("artifact", False, f"set live.artifact_hash; {folder} has {manifest.hash}")]
    else:
        same = wanted == manifest.hash
        items = [
            Item(
                "artifact",
                same,
                f"{folder}, hash {manifest.hash}" + (how if same else instead),
            )
        ]
    last = max(manifest.seen, default="")
    try:
        age = (today - dt.date.fromisoformat(last)).days
    except ValueError:
        age = -1
    most = config.live.max_artifact_age_days
    items.append(
        Item(
            "artifact age",
            most is None or 0 <= age <= most,
            f"trained up to {last or 'an unknown day'}, {age} days ago"
            + (f", at most {most:g}" if most is not None else ""),
        )
    )
    items.append(
        Item(
            "feature spec",
            manifest.spec_hash == manifest.spec.hash,
            f"{manifest.spec_hash}, {len(manifest.spec.names)} features",
        )
    )
    return items


async def check_venue(config: Config, contract: Contract, client: AccountClient) -> list[Item]:
    """Clock, terms, fees and balance as the venue reports them."""
    live = config.live
    offset = await client.clock_offset_ms()
    terms = await client.terms()
    maker, taker = await client.fees()
    balance = await client.balance()
    table = fees_of(contract, "exchange", config.fees)
    same_steps = (terms.tick, terms.lot) == (contract.terms.tick, contract.terms.lot)
    same_fees = (Decimal(str(table.maker)), Decimal(str(table.taker))) == (maker.normalize(), taker.normalize())
    enough = balance >= Decimal(str(live.min_balance)) and balance > 0
    steps = f"tick {terms.tick}, lot {terms.lot}"
    if not same_steps:
        steps += f"; the contract table says {contract.terms.tick} and {contract.terms.lot}"
    charged = f"the venue charges {maker} and {taker}, the contract table says {table.maker:g} and {table.taker:g}"
    clock = f"the venue's is {offset:+.0f} ms off, at most {live.max_clock_offset_ms:g}"
    return [
        Item("clock", abs(offset) <= live.max_clock_offset_ms, clock),
        Item("status", terms.status == "Trading", f"the venue says {terms.status}"),
        Item("steps", same_steps, steps),
        Item("fees", same_fees and config.fees.scenario == "exchange", f"{charged}; scenario {config.fees.scenario}"),
        Item("balance", enough, f"{balance} {contract.terms.currency}, at least {live.min_balance:g}"),
    ]


async def check_account(config: Config, client: AccountClient, store: Store, is_new: bool) -> list[Item]:
    """Orders and position, reconciled with our own store."""
    live = config.live
    orders = await client.open_orders()
    text, holds = f"{len(orders)} rest", not orders
    if orders and live.orphans == "cancel":
        wound = await cancel_everything(client, 10.0)
        holds = wound.resting == 0
        text += f", cancelled, {wound.resting} left"
    elif orders:
        text += "; live.orphans is refuse: cancel them (cmm halt), or set it to cancel"
    items = [Item("open orders", holds, text)]
    found = await recover_fills(client, store)
    venue, ours = await client.position_lots(), store.totals()
    if is_new and venue != ours.position and live.start_position == "adopt":
        store.put("start_position", str(venue - ours.position))
    ours_lots = ours.position + int(store.get("start_position") or 0)
    holds = abs(venue - ours_lots) <= live.tolerance_lots
    items.append(
        Item(
            "position",
            holds,
            f"{venue} lots at the venue, {ours_lots} by our fills, {len(found)} of them learnt from the venue just now"
            + (
                ""
                if holds
                else "; look into the difference, flatten, or start a new live.state with start_position adopt"
            ),
        )
    )
    return items


def refusal(items: list[Item]) -> ConfigError | None:
    """The error that names all that does not hold."""
    broken = [f"{item.name}: {item.text}" for item in items if not item.holds]
    return ConfigError(f"not ready to go live: {'; '.join(broken)}") if broken else None
