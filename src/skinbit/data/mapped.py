"""Arrays that are larger than the memory: they stay in their file, and are read where they are needed."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MappedArray(np.memmap[Any, Any]):
    """A read-only array in a file; another process receives its place in the file instead of its numbers."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return how the array is made anew; a part of it is copied."""
        if isinstance(self.base, mmap.mmap):
            return MappedArray, (self.filename, self.dtype, self.mode, self.offset, self.shape)
        return np.asarray(self).__reduce_ex__(protocol)


def take(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return a copy of some rows; what was read of a file for it does not stay in the memory of this process."""
    taken: NDArray[Any] = np.asarray(array)[rows]
    source: Any = array
    while isinstance(source, np.ndarray):
        source = source.base
    if isinstance(source, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        source.madvise(mmap.MADV_DONTNEED)
    return taken
