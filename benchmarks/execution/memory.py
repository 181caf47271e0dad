"""Memory of processes that compute on the CPU: limits, and the return of freed memory to the system."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

try:
    import resource
except ImportError:  # no Unix
    resource = None  # type: ignore[assignment]

_MOST = 0.9  # of what there is
_CONTAINER = Path("/sys/fs/cgroup/memory.max")  # of Docker and others
_PAGES, _STATUS = Path("/proc/self/statm"), Path("/proc/self/status")  # of a process
_MMAP_THRESHOLD = -3  # a parameter of glibc's mallopt
_LARGE = 2**20
_JEMALLOC = "libjemalloc.so.2"
_LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}  # of PyTorch: fewer of them have to be cleared


def processes(most: int) -> int:
    """Return how many processes, 1 to `most`, fit into memory if each holds as much as this one: images and weights."""
    if resource is None:
        return most
    return max(1, min(most, int(_MOST * _installed()) // _held()))


def _held() -> int:
    """Return the bytes of memory of this process; on systems other than Linux, the most that it ever had."""
    if _PAGES.is_file():
        return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak()


def peak() -> int:
    """Return the most bytes of memory that this process ever had.

    On Linux, `resource` also counts the process that started this one, so its number is not used.
    """
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def limited(share: float = 1.0) -> Iterator[None]:
    """Limit the memory of this process to its share inside the `with` block: a request for more fails.

    Args:
        share: share of nine tenths of the memory of the machine, or of the container.
    """
    if resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = (soft, hard, int(share * _MOST * _installed()))
    finite = [bound for bound in bounds if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(finite), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _installed() -> int:
    """Return the bytes of memory of the machine, or of the container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    container = _CONTAINER.read_text().strip() if _CONTAINER.is_file() else ""
    return min(machine, int(container)) if container.isdecimal() else machine


def return_freed_memory() -> None:
    """Make glibc return the memory of freed tensors of a megabyte or more to the system at once, from now on.

    By default glibc keeps blocks below 32 MB in its heap, which is faster. The holes that they leave count as memory of
    the process, so a process at its limit could allocate nothing more, however small.
    """
    c = ctypes.CDLL(None) if os.name == "posix" else None
    if c is not None and hasattr(c, "mallopt"):
        c.mallopt(_MMAP_THRESHOLD, _LARGE)


@contextmanager
def reused_in_new_processes() -> Iterator[None]:
    """Let processes that start inside the `with` block reuse the memory of freed tensors, if the system has jemalloc.

    glibc returns the memory of large tensors to the system, which clears every page before it gives it out again. This
    takes half of the training time of wide networks.
    """
    added = {name: value for name, value in _allocator().items() if name not in os.environ}
    os.environ.update(added)  # there is no other way to tell new processes
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _allocator() -> dict[str, str]:
    """Return environment variables for jemalloc; an allocator that the user has chosen stays."""
    if sys.platform != "linux" or find_library("jemalloc") != _JEMALLOC or "LD_PRELOAD" in os.environ:
        return _LARGE_PAGES
    return {"LD_PRELOAD": _JEMALLOC, "MALLOC_CONF": "dirty_decay_ms:-1,retain:false"}
