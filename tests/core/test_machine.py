"""Cores and memory that a process may use, with the limits of a container."""

import os
import sys

import pytest

from tdw import machine


@pytest.fixture
def container(tmp_path, monkeypatch):
    def limited(**numbers):
        for name, text in numbers.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        monkeypatch.setattr(machine, "CGROUP", tmp_path)

    return limited


@pytest.mark.skipif(sys.platform != "linux", reason="affinity and containers are Linux's")
@pytest.mark.parametrize(("given", "expected"), [("max 100000", 4), ("150000 100000", 2), ("1000 100000", 1), ("", 4)])
def test_cores_are_those_that_this_process_may_use(container, monkeypatch, given, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6})
    container(cpu_max=given)
    assert machine.cores() == expected


def test_memory_is_that_of_the_container_if_it_has_less(container, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name])
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    container()
    assert (machine.memory(), machine.free_memory()) == (4_096_000, 2_048_000)
    container(memory_max="max\n", memory_current="5")
    assert (machine.memory(), machine.free_memory()) == (4_096_000, 2_048_000)
    container(memory_max="1000000\n", memory_current="400000\n")
    assert (machine.memory(), machine.free_memory()) == (1_000_000, 600_000)
    container(memory_current="2000000\n")
    assert machine.free_memory() == 0


def test_a_system_that_does_not_tell_has_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "meminfo")
    monkeypatch.delattr(os, "sysconf")
    assert (machine.memory(), machine.free_memory()) == (None, None)
