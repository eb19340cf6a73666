"""How this process gets memory and gives it back: settings of the C library and of Arrow, made once at the start.

A server that takes bodies of megabytes on dozens of threads keeps with glibc's defaults two to three times what it uses: each
thread gets an arena of its own. So there are few arenas. But memory that goes back to the system at once must be had again,
page by page: with a bound of 512 KiB for that, as it was first, a history span cost 42 page faults and 200 us of processor
time where it costs 11 and 155 now. So buffers of up to `MAPPED_BYTES_MIN` stay, up to `KEPT_BYTES_MAX` of them.

What this process has resident beyond what it uses has two parts, each for `ARENAS_MAX` arenas and not for each thread: at an
arena's end at most `KEPT_BYTES_MAX` (more is given back, all of it), and before that the holes between what is still in use,
which are no more than the arena once had in use at one time. How large that gets is bounded by what the doors admit.
"""

import ctypes
from typing import Final

import pyarrow as pa

ARENAS_MAX: Final = (
    2  # The interpreter's lock lets one thread at a time allocate; the engine has an allocator of its own.
)
MAPPED_BYTES_MIN: Final = 32 * 1024 * 1024  # From here a buffer is the system's; glibc allows no more.
KEPT_BYTES_MAX: Final = 256 * 1024 * 1024  # Freed and kept at an arena's end: two batches of the projector.

# Of malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def settle_allocators() -> None:
    """To be called before threads are started. Where the C library knows no such settings, nothing happens."""
    # Arrow's own pool keeps what it once had; columns live for milliseconds here.
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
