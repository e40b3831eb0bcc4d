"""Loaders by format; which one reads a file is found by the file's content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from market.errors import DataError
from venues.recordings.loaders.base import Loader, Recording, Traits, head
from venues.recordings.loaders.binance import BinanceLoader
from venues.recordings.loaders.bitstamp import BitstampLoader
from venues.recordings.loaders.coinbase import CoinbaseLoader
from venues.recordings.loaders.ctp import CtpLoader
from venues.recordings.loaders.databento import DatabentoLoader
from venues.recordings.loaders.lobster import LobsterLoader
from venues.recordings.loaders.sgx import SgxLoader
from venues.recordings.loaders.tardis import TardisLoader

LOADERS: dict[str, Loader] = {
    loader.name: loader
    for loader in (
        CtpLoader(),
        BinanceLoader(),
        TardisLoader(),
        CoinbaseLoader(),
        BitstampLoader(),
        LobsterLoader(),
        DatabentoLoader(),
        SgxLoader(),
    )
}


def detect(path: Path) -> Loader:
    """Return the loader that recognises a file's content."""
    start = head(path)
    if not start.strip():
        raise DataError(f"{path}: the file is empty")
    for loader in LOADERS.values():
        if loader.recognises(path, start):
            return loader
    first = start.split("\n", 1)[0].strip()[:80]
    raise DataError(
        f"{path}: no known recording format begins with {first!r}; "
        f"name one with --format ({', '.join(LOADERS)}) or check the columns"
    )


def traits(format_name: str) -> Traits:
    """How the feed of a day tells of trades; the simulator's tells each as it happens."""
    return LOADERS[format_name].traits if format_name in LOADERS else Traits()


def recordings(paths: Sequence[Path], format_name: str | None = None) -> list[Recording]:
    """Group files into recordings, each with its loader's name."""
    by_loader: dict[str, list[Path]] = {}
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        name = format_name or detect(path).name
        by_loader.setdefault(name, []).append(path)
    return [rec for name, files in by_loader.items() for rec in LOADERS[name].group(list(dict.fromkeys(files)))]


__all__ = ["LOADERS", "Loader", "Recording", "Traits", "detect", "recordings", "traits"]
