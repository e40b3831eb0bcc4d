"""The catalog that a configuration names, and the days of it that a user names."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from engine.config import Config
from market.contracts import ContractTable
from market.errors import ConfigError
from venues.recordings.catalog import Catalog, Day


def contract_table(config: Config) -> ContractTable:
    """Contract terms: those built in and those of the configuration."""
    return ContractTable([Path(path) for path in config.data.contracts])


def open_catalog(config: Config) -> Catalog:
    """The catalog of the configuration."""
    return Catalog(Path(config.data.path), contract_table(config))


def select_days(catalog: Catalog, name: str, dates: str | None, option: str = "--dates") -> list[Day]:
    """Days of an instrument: those named, or all.

    A list names days that must be there; a span takes those that are (weekends are not).

    Parameters
    ----------
    catalog : Catalog
    name : str
        Of the instrument, as people write it.
    dates : str, optional
        `2021-01-08,2021-01-11` or `2021-01-04..2021-01-07`.
    option : str
        Where the dates come from, for the sentence of an error.

    Raises
    ------
    ConfigError
        Dates that cannot be read.
    DataError
        An unknown instrument, or a day that is not there.

    """
    instrument = catalog.resolve(name)
    have = catalog.days(instrument)
    if dates is None:
        return list(have.values())
    wanted = _parse_dates(dates, option)
    if isinstance(wanted, list):
        return [catalog.day(instrument, date) for date in wanted]
    found = [day for date, day in have.items() if wanted[0] <= date <= wanted[1]]
    if not found:
        catalog.day(instrument, wanted[0])  # says what there is
    return found


def _parse_dates(text: str, option: str) -> list[dt.date] | tuple[dt.date, dt.date]:
    """A list of days, or the first and the last of a span."""
    try:
        if ".." in text:
            first, _, last = text.partition("..")
            span = dt.date.fromisoformat(first.strip()), dt.date.fromisoformat(last.strip())
            if span[0] > span[1]:
                raise ConfigError(f"{option} {text}: the first date is after the last")
            return span
        return sorted({dt.date.fromisoformat(part.strip()) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected YYYY-MM-DD, a list a,b or a span a..b") from error
