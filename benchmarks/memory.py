"""Memory of a process that computes on the CPU: how much it may take, and when the system gets it back."""

import ctypes
import os

try:
    import resource
except ImportError:  # no Unix
    resource = None  # type: ignore[assignment]

_MOST = 0.9  # of the machine
_MMAP_THRESHOLD = -3  # a parameter of glibc's mallopt
_LARGE = 2**20


def limit(share: float = 1.0) -> None:
    """Let this process have its share of the memory: a request for more fails, where the system would kill it."""
    if resource is None:
        return
    wanted = int(share * _MOST * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in (soft, hard, wanted) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))


def return_what_is_freed() -> None:
    """Tensors of a megabyte or more have pages of their own, which the system gets back at once.

    glibc puts those below 32 MB between others, which is faster, but the holes that they leave count as memory of the
    process: at its limit it can do nothing else, however small.
    """
    c = ctypes.CDLL(None) if os.name == "posix" else None
    if c is not None and hasattr(c, "mallopt"):
        c.mallopt(_MMAP_THRESHOLD, _LARGE)
