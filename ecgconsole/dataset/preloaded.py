"""What the server of the workers imports for all of them, in the order of what takes longest.

It stays to the end: the collector of garbage passes it by, in every process.
"""

import gc
import sys

import numpy

gc.disable()
if "numpy.f2py" not in sys.modules:
    # SciPy asks NumPy for all of its names, and would so import this one: a compiler of Fortran wrappers.
    numpy.f2py = None  # type: ignore[assignment]
    import scipy.fft  # noqa: F401

    del numpy.f2py
from ecgconsole.dataset import forecast, header_index, merge, shards  # noqa: E402, F401

gc.freeze()
gc.enable()
