"""Processors and memory as affinity and control groups allow them, from files of a pretended machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from celeriac.worker.machine import memory_limit, processors


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def machine(root: Path, groups: str, **files: str) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert processors(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("250000 100000", 3), ("10000 100000", 1), ("9000000 100000", 8), ("", 8)],
)
def test_a_quota_of_version_2(tmp_path: Path, quota: str, expected: int) -> None:
    assert processors(machine(tmp_path, "0::/a/b", **{"sys/fs/cgroup/a/b/cpu.max": quota})) == expected


def test_the_tightest_of_the_groups_around_counts(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/a/b/cpu.max": "600000 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"}
    assert processors(machine(tmp_path, "0::/a/b", **files)) == 2


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert processors(machine(tmp_path, "0::/../../pod7", **{"sys/fs/cgroup/cpu.max": "150000 100000"})) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("150000", 2)])
def test_a_quota_of_version_1(tmp_path: Path, quota: str, expected: int) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/x/"
    files = {folder + "cpu.cfs_quota_us": quota, folder + "cpu.cfs_period_us": "100000"}
    assert processors(machine(tmp_path, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x", **files)) == expected


def test_limits_of_memory(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) > 2**20
    assert memory_limit(machine(tmp_path, "0::/a", **{"sys/fs/cgroup/a/memory.max": "1048576"})) == 2**20
    older = machine(tmp_path / "older", "5:memory:/b", **{"sys/fs/cgroup/memory/b/memory.limit_in_bytes": "2097152"})
    assert memory_limit(older) == 2**21
