"""Days of the catalog as other engines' files."""

from __future__ import annotations

from pathlib import Path

from engine.config import Config
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog, select_days
from market.errors import ConfigError
from venues.recordings.hftbacktest_export import Exported, export_hftbacktest

FORMATS = {"hftbacktest": export_hftbacktest}
"""What writes a day, by the format's name."""


def export_days(
    config: Config,
    instrument: str,
    dates: str | None,
    format_name: str,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> list[Exported]:
    """Write days of an instrument, each into a file.

    Parameters
    ----------
    config : Config
    instrument : str
    dates : str, optional
        Days, or all (`select_days`).
    format_name : str
        One of `FORMATS`.
    out : Path, optional
        A file for one day, or a folder that exists; left out, the working folder. There a file is called
        `<instrument>.<date>.npz`.
    progress : Progress

    Raises
    ------
    ConfigError
        There is no such format, several days are to go into one file, or it cannot be written.
    DataError
        An unknown instrument, or a day that is not there.

    """
    if format_name not in FORMATS:
        raise ConfigError(f"--format {format_name}: unknown; known are {', '.join(FORMATS)}")
    catalog = open_catalog(config)
    days = select_days(catalog, instrument, dates)
    place = Path() if out is None else out
    if not place.is_dir() and len(days) > 1:
        raise ConfigError(
            f"--out {place}: {len(days)} days do not go into one file; name a folder, or one with --dates"
        )
    if not place.is_dir() and not place.parent.is_dir():
        raise ConfigError(f"--out {place}: there is no folder {place.parent}")
    done = []
    with progress.share("exporting") as update:
        for index, day in enumerate(days):
            update(f"{day.instrument} {day.date}", index / len(days))
            path = place / f"{day.instrument}.{day.date}.npz" if place.is_dir() else place
            try:
                done.append(FORMATS[format_name](catalog, day, path))
            except OSError as error:
                raise ConfigError(f"--out {path}: cannot be written: {error.strerror or error}") from error
    return done
