"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_META = "engine.cli.overrides"

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
dates = click.option("--dates", help="Days: a,b or a..b [all].")
instrument = click.option("--instrument", required=True)


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config and --set; hand the decoded configuration on as the first argument."""

    @click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration [config.yaml].")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key, e.g. limits.max_position_lots=5.",
    )
    @wraps(command)
    def wrapper(config_path: Path | None, overrides: tuple[str, ...], **arguments: Any) -> Any:
        context = click.get_current_context()
        if context.invoked_subcommand is not None:  # it reads its own
            return None
        from engine.config import load, override

        config = load(config_path, overrides)
        for source, (key, value) in context.meta.get(_META, {}).items():
            config = override(config, {key: value}, source)
        return command(config, **arguments)

    return wrapper


def overriding(flag: str, key: str, help_text: str = "", *, metavar: str | None = None, but: str = "") -> Decorator:
    """An option that stands for `--set key=…`: what it may be is what the configuration says of the key.

    Parameters
    ----------
    flag : str
    key : str
        Dotted, e.g. `strategy.quoter`.
    help_text : str, optional
    metavar : str, optional
    but : str, optional
        Why nothing else is possible, where the choices alone do not say.

    """

    def keep(context: click.Context, _: click.Parameter, value: object) -> None:
        if value is not None:
            context.meta.setdefault(_META, {})[f"{flag} {value}"] = (key, value)

    return click.option(
        flag,
        type=_OfKey(key, but),
        metavar=metavar,
        expose_value=False,
        callback=keep,
        help=help_text or f"Instead of {key}.",
    )


class _OfKey(click.ParamType[Any]):
    """The type of a key; it is looked up when it is needed, for the configuration takes a while to import."""

    name = "text"

    def __init__(self, key: str, but: str) -> None:
        self._key, self._but = key, but

    @cached_property
    def _type(self) -> Any:
        from engine.config import type_of

        return type_of(self._key)

    @property
    def _choice(self) -> click.Choice[str] | None:
        return click.Choice(get_args(self._type)) if get_origin(self._type) is Literal and not self._but else None

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        if self._choice is not None:
            return self._choice.get_metavar(param, ctx)
        from engine.config import examples_of

        examples = examples_of(self._type)
        return f"[{'|'.join(examples)}]" if examples else None

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        import msgspec

        from engine.config import problem_of
        from market.errors import ConfigError

        if self._choice is not None:
            return self._choice.convert(value, param, ctx)
        try:
            return msgspec.convert(value, self._type, strict=False)
        except msgspec.ValidationError as error:
            flag = param.opts[0] if param is not None else self._key
            raise ConfigError(f"{flag} {value}: {self._but or problem_of(error, self._key)}") from error
