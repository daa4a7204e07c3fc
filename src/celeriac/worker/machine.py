"""What of the machine this process may use: processors and memory, by its affinity and its control group. Reads files
under `root`, decides nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def processors(root: Path = ROOT) -> int:
    """How many processors it may use, at least 1: as many as its affinity (a cpuset too) names, and no more than the
    quotas of its control groups are worth; one that is begun counts whole."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([known, *(math.ceil(quota) for quota in _quotas(root))]))


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that it may take: the least of the limits of its control groups and the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [machine]
    for folder, version in _groups(root, "memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        limits += [int(text) for text in _words(folder / name)[:1] if text.isdigit()]
    return min(limits)


def _quotas(root: Path) -> Iterator[float]:
    for folder, version in _groups(root, "cpu"):
        if version == 2:
            words = _words(folder / "cpu.max")
        else:
            words = _words(folder / "cpu.cfs_quota_us")[:1] + _words(folder / "cpu.cfs_period_us")[:1]
        if len(words) == 2 and all(word.isdigit() and int(word) for word in words):  # not "max", not -1
            yield int(words[0]) / int(words[1])


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of our control group and of those around it, with the version: a limit of each of them holds.

    A container may see only its own group, as the root: what is not there under our group's path is looked for there.
    """
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            yield from ((mount / each, 2) for each in _ancestors(path))
        elif controller in controllers.split(","):
            for top in (controllers, controller):
                yield from ((mount / top / each, 1) for each in _ancestors(path))


def _ancestors(path: str) -> Iterator[str]:
    inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
    yield str(inside)
    if inside.parts:
        yield from (str(each) for each in inside.parents)


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
