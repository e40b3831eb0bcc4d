"""Groups of commands: a user's error in one sentence, and flags that stand for a command's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class Commands(click.Group):
    """Says a user's error in one sentence, with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from market.errors import ConfigError, DataError
            from models.errors import ModelError

            if not isinstance(error, ConfigError | DataError | ModelError):
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


class Flagged(click.Group):
    """A group whose commands may be named by a flag as well: `paper --replay X` is `paper replay X`.

    Parameters
    ----------
    flags : mapping
        Command by flag; what follows the flag is the command's argument, if it takes one.
    without : str, optional
        The sentence for a line that names no command, or two of them; with none the group is a command itself.

    """

    def __init__(self, *, flags: Mapping[str, str], without: str = "", **settings: Any) -> None:
        super().__init__(invoke_without_command=not without, **settings)
        self._flags, self._without = flags, without

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = [flag for flag in self._flags if any(word.partition("=")[0] == flag for word in args)]
        if len(named) == 1:
            args = [self._flags[named[0]], *_without(args, named[0])]
        elif self._without and (named or not args or args[0] not in (*self.commands, *ctx.help_option_names)):
            from market.errors import ConfigError

            raise ConfigError(self._without)
        return super().parse_args(ctx, args)


def _without(args: list[str], flag: str) -> list[str]:
    """The words of a line but for a flag's name; its value stays."""
    kept = []
    for word in args:
        name, equals, value = word.partition("=")
        if name != flag:
            kept.append(word)
        elif equals:
            kept.append(value)
    return kept
