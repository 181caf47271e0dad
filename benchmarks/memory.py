"""Memory of a process that computes on the CPU: how much it may take, and when the system gets it back."""

import ctypes
import os

try:
    import resource
except ImportError:  # no Unix
    resource = None  # type: ignore[assignment]

_MOST = 0.9  # of the machine
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # parameters of glibc's mallopt
_LARGE = 2**20
_C = ctypes.CDLL(None) if os.name == "posix" else None
_IS_GLIBC = hasattr(_C, "mallopt") and hasattr(_C, "malloc_trim")


def limit(share: float = 1.0) -> None:
    """Let this process have its share of the memory: a request for more fails, where the system would kill it."""
    if resource is None:
        return
    wanted = int(share * _MOST * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def keep_what_is_freed() -> None:
    """Large tensors take memory that this process had before, where glibc asks the system for each of them anew.

    The system fills new pages with zeros, which is a fifth to a half of the time of training wide networks. But kept
    memory has holes: a process that reached its limit is of no use for other networks.
    """
    if _C is not None and _IS_GLIBC:
        _C.mallopt(_MMAP_MAX, 0)
        _C.mallopt(_TRIM_THRESHOLD, -1)  # never


def return_what_is_freed() -> None:
    """Large tensors have pages of their own, which the system gets back at once: smaller batches find room."""
    if _C is not None and _IS_GLIBC:
        _C.mallopt(_MMAP_THRESHOLD, _LARGE)


def return_the_rest() -> None:
    """Return what was kept and is not in use, which may take a while."""
    if _C is not None and _IS_GLIBC:
        _C.malloc_trim(0)
