"""How this process's C library handles memory."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
# A few of the largest features of networks that see 256 x 256, but not what a large photo needed.
_KEPT_BETWEEN_PHOTOS = 512 * 2**20
_LARGEST_INPUT = 256


def keep_freed_memory(at_most: int | None = None) -> bool:
    """Has this process keep what it frees for its next allocation; for commands whose networks run on a CPU.

    Each step of training takes and frees the same gigabytes, each photo the same hundreds of megabytes. glibc would
    give every large block back, and the kernel map and clear it anew, which took up to 40 % of a training step and some
    7 % of a network's time. Only blocks that are taken from now on are kept. It is for the rest of the process, so it
    belongs to a command's entry, not into a function that other programs call.

    Args:
        at_most: bytes to keep; None keeps everything.

    Returns:
        Whether the C library can do that; glibc can.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1 if at_most is None else at_most, _M_ARENA_MAX: 1}
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in settings.items())


def keep_between_photos(input_size: int | None = None) -> bool:
    """`keep_freed_memory` for a command that colours photos: up to 512 MB, for networks that see up to 256 x 256.

    Larger features leave gaps between them that nothing fits into, so that keeping them would take more memory than the
    features themselves.

    Args:
        input_size: side of the networks' input; None for what the weights are made for.

    Returns:
        Whether memory is kept.
    """
    return (input_size or 0) <= _LARGEST_INPUT and keep_freed_memory(_KEPT_BETWEEN_PHOTOS)
