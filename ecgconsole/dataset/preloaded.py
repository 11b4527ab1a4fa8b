"""What the server of the workers imports for all of them.

It stays to the end: the collector of garbage passes it by, in every process.
"""

import gc

gc.disable()
import scipy.fft  # noqa: E402, F401 - who filters imports it late

from ecgconsole.dataset import forecast, header_index, shards  # noqa: E402, F401

gc.freeze()
gc.enable()
