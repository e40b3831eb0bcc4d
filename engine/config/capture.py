"""Recording market data of one's own."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

type Positive = Annotated[float, Meta(gt=0)]


class CaptureConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cmm capture`, and traders that record what they see.

    Parameters
    ----------
    path : str, optional
        Folder of the segment files; null is `capture` within the catalog's folder. Traders have folders of their own.
    depth : int, optional
        Levels a side that the venue is asked for; null is what its adapter asks for by itself.
    flush_s : float
        What is older is on the disk.
    segment_minutes, segment_mb : float
        A segment file that is older or larger is followed by another.
    queue_mb : float
        So much may wait for a slow disk, in this process and in the writer; what finds no room is left out and counted.
    min_free_mb : float
        Recording ends when less is left on the disk.
    retry_s : float
        Recording ends when the disk has failed for so long.
    silent_s : float
        A venue that has sent nothing for so long is asked for its books again.
    clock_s : float
        How often the venue's clock is asked.
    status_s : float
        How often it is said how recording goes.
    into_catalog : bool
        Import a day when it is over, and what there is of it at the end.

    """

    path: str | None = None
    depth: Annotated[int, Meta(ge=1)] | None = None
    flush_s: Positive = 1.0
    segment_minutes: Positive = 60.0
    segment_mb: Positive = 64.0
    queue_mb: Positive = 64.0
    min_free_mb: Annotated[float, Meta(ge=0)] = 500.0
    retry_s: Annotated[float, Meta(ge=0)] = 30.0
    silent_s: Positive = 30.0
    clock_s: Positive = 60.0
    status_s: Positive = 10.0
    into_catalog: bool = True
