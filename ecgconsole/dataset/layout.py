"""What ``full_dataset.h5`` is, for those who do not open one."""

from __future__ import annotations

FORMAT_VERSION = 1
# In the order of the second axis of ``/signal``.
SIGNALS = ("ECG", "PPG")
SIGNAL_CHUNK_ROWS = 64
