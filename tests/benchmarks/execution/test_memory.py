import os
import platform
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

from benchmarks.execution import memory
from deepnets.utils.executors import fresh_processes


def printed(code: str) -> str:
    """What a process of its own prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_memory_that_is_not_there_is_refused() -> None:
    """An error, after which the batch is halved, instead of a process that the system kills."""
    code = """
import os, torch
from benchmarks.execution import memory
from ghn_models.training.step import is_out_of_memory

machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
for share, size in ((1, machine), (0.5, machine // 2)):
    with memory.limited(share):
        try:
            torch.zeros(size, dtype=torch.uint8)
        except RuntimeError as error:
            print("refused", is_out_of_memory(error))
"""
    assert printed(code) == "refused True\nrefused True\n"


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTAINER", limit)
    machine = memory._installed()
    for content, wanted in (("max\n", machine), ("1000000\n", 1_000_000), (f"{2 * machine}\n", machine)):
        limit.write_text(content)
        assert memory._installed() == wanted


def test_the_peak_is_that_of_this_process_alone() -> None:
    """Not that of the one that started it, which the system passes on."""
    code = """
import subprocess, sys
from benchmarks.execution import memory

much = b"1" * 10**9
print(memory.peak() > 10**9)
del much
print(memory.peak() > 10**9)
print(subprocess.run([sys.executable, "-c", "from benchmarks.execution import memory; print(memory.peak() < 10**9)"],
    check=True, capture_output=True, text=True).stdout.strip())
"""
    assert printed(code) == "True\nTrue\nTrue\n"


def test_processes_that_hold_much_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large GHN takes all of the share of one of many workers, which could evaluate nothing then."""
    code = """
from benchmarks.execution import memory

memory._installed = lambda: 10**10
print(memory.processes(8))
much = bytearray(2 * 10**9)
for i in range(0, len(much), 4096):
    much[i] = 1
print(memory.processes(8), memory.processes(3))
memory._installed = lambda: 10**9
print(memory.processes(8))
"""
    assert printed(code) == "8\n4 3\n1\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they like")
def test_returned_memory_leaves_no_holes() -> None:
    """Tensors of 2 MB between which a small one stays would hold the heap where it is."""
    code = """
import torch
from benchmarks.execution import memory

def size():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))

memory.return_freed_memory()
before = size()
pairs = [(torch.zeros(2**19), torch.zeros(2**8)) for _ in range(100)]
small = [b for _, b in pairs]
grown = size() - before
del pairs
print(grown, size() - before)
"""
    grown, left = map(int, printed(code).split())
    assert grown > 200_000 > 20_000 > left


@pytest.mark.skipif(find_library("jemalloc") != "libjemalloc.so.2", reason="the system has no jemalloc")
def test_new_processes_reuse_memory() -> None:
    """Each new tensor of 64 MB would be 16,384 new pages of 4 kB."""
    code = """
import resource, torch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

torch.zeros(2**24)
before = faults()
for _ in range(10):
    torch.zeros(2**24)
print(faults() - before)
"""
    with memory.reused_in_new_processes():
        assert int(printed(code)) < 1000


def test_an_allocator_that_the_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_library", lambda _: "libjemalloc.so.2")
    monkeypatch.setenv("LD_PRELOAD", "")
    before = dict(os.environ)
    with memory.reused_in_new_processes():
        assert os.environ["LD_PRELOAD"] == ""
    assert dict(os.environ) == before


def test_fresh_processes_have_one_task() -> None:
    with fresh_processes() as pool:
        pids = [pid for _, pid in pool.compute(_pid, range(3))]
    assert len({*pids, os.getpid()}) == 4


def _pid(_: int) -> int:
    return os.getpid()
