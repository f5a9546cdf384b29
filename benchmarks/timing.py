"""Time and peak memory of calls, and the machine they ran on."""

import os
import platform
import resource
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

Call = Callable[[], Any]


def best_times(calls: Mapping[str, Call], repetitions: int) -> dict[str, float]:
    """Time several calls side by side: each once per repetition, in turn.

    Args:
        calls: What to time, by name.
        repetitions: Of the whole round.

    Returns:
        Seconds of each call's fastest repetition.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: min(found) for name, found in times.items()}


def peak_megabytes(call: Call) -> float:
    """Give the peak of what a call allocates (numpy reports to tracemalloc); slows it down, so never time this."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def peak_resident_megabytes() -> float:
    """Return the largest resident set of this process so far; ru_maxrss would count that of its parent, too."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return (peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e3


def describe_machine(*packages: str) -> str:
    """Name processor, cores, load and versions in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{_processor()}, {cores} cores{load}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table, numbers to the right."""
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ruler, *rows])
