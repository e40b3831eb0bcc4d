"""Run all benchmarks, or those named: `python -m benchmarks [latency] [rate] [imports] [memory] [blindness] [teacher] [wire] [endurance] [viewers]`."""

from __future__ import annotations

import sys

from benchmarks import blindness, endurance, imports, latency, memory, rate, teacher, viewers, wire

ALL = {
    "latency": latency.main,
    "rate": rate.main,
    "imports": imports.main,
    "memory": memory.main,
    "blindness": blindness.main,
    "teacher": teacher.main,
    "wire": wire.main,
    "endurance": endurance.main,
    "viewers": viewers.main,
}

for name in sys.argv[1:] or ALL:
    if name not in ALL:
        sys.exit(f"unknown benchmark {name}: known are {', '.join(ALL)}")
    ALL[name]()
