"""What bad recordings, tables and catalogs raise."""

from __future__ import annotations

from msgspec import UNSET


class DataError(Exception):
    """Input that cannot be used; its text is one sentence a user can act on."""


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one sentence a user can act on."""


class EmptyFileError(DataError):
    """A file without a row: an error where it is all there is, else worth a mention."""


def refuse_former(name: str, value: object, now: str) -> None:
    """Refuse a key by its former name: `value` is UNSET unless somebody wrote it.

    Raises
    ------
    ValueError
        With the name that the key has now.

    """
    if value is not UNSET:
        raise ValueError(f"`{name}` is called `{now}` now; rename it")
