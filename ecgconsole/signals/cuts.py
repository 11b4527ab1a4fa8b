"""Windows that lie where they were computed, until someone wants them elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgconsole.signals import compiled

Float32 = NDArray[np.float32]


class Cut(NamedTuple):
    """Windows (w, length) of flat, contiguous ``samples``: each from its ``start`` (w,) on."""

    samples: Float32
    start: NDArray[np.int64]
    length: int

    @staticmethod
    def whole(windows: Float32) -> Cut:
        """All of contiguous windows (w, t)."""
        n, length = windows.shape
        return Cut(windows.reshape(-1), np.arange(n) * length, length)

    def copy_to(self, windows: Float32) -> None:
        """Fills contiguous ``windows`` (w, length)."""
        if compiled.available():
            compiled.call("copy_windows", self.samples, self.start, len(self.start), self.length, windows)
        else:
            windows[:] = self._windows()

    def tapered(self, taper: Float32) -> Float32:
        """Windows (w, length), their means removed, times ``taper`` (length,)."""
        if compiled.available():
            result = np.empty((len(self.start), self.length), np.float32)
            compiled.call("tapered", self.samples, self.start, len(self.start), self.length, taper, result)
            return result
        windows = self._windows()
        windows -= windows.mean(axis=1, keepdims=True)
        windows *= taper
        return windows

    def _windows(self) -> Float32:
        return np.lib.stride_tricks.sliding_window_view(self.samples, self.length)[self.start]
