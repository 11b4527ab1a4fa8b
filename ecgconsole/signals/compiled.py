"""The compiled kernels of ``kernels.c``, where the installation could compile them.

Without them, functions of NumPy do the same, to the last bit, in several times the time: each caller has both.
"""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LIBRARY_FILE = Path(__file__).with_name("_kernels.so")

_TYPES = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "d": ctypes.c_double, "f": ctypes.c_float}
# What each kernel takes: pointers to arrays, numbers.
_SIGNATURES = {
    "deinterleave": "pnnnp",
    "code_range": "pnnp",
    "physical": "pnnffp",
    "clipped": "pnnnnnp",
    "find_beats": "pnnpppp",
    "moments": "pnnppppp",
    "copy_windows": "ppnnp",
    "tapered": "ppnnpp",
    "band_powers": "pnnpnp",
    "interval_statistics": "ppndddp",
    "template_correlation": "pnppnnp",
    "quantise": "pnpnnnpp",
}


def _loaded() -> ctypes.CDLL | None:
    # A library of other source, after an update without an installation, might take other arguments.
    source = hashlib.sha256(LIBRARY_FILE.with_name("kernels.c").read_bytes()).hexdigest()
    try:
        library = ctypes.CDLL(str(LIBRARY_FILE))
        if (ctypes.c_char * 65).in_dll(library, "source_sha256").value.decode() != source:
            return None
    except (OSError, ValueError):
        return None  # there is none, it is another machine's, or it names no source
    for name, signature in _SIGNATURES.items():
        kernel = getattr(library, name)
        kernel.argtypes = [_TYPES[letter] for letter in signature]
        kernel.restype = ctypes.c_int64
    return library


_library = _loaded()


def available() -> bool:
    return _library is not None


def takes(codes: NDArray) -> bool:
    """Whether kernels can take these ADC codes."""
    return available() and codes.dtype == np.int16 and codes.flags.c_contiguous


def call(name: str, *arguments: NDArray | ctypes.Structure | float) -> int:
    """What the kernel returns. Arrays must be contiguous and of its types; ``MemoryError`` where it found no memory."""
    values = [
        a.ctypes.data if isinstance(a, np.ndarray) else ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a
        for a in arguments
    ]
    result = int(getattr(_library, name)(*values))
    if result < 0:
        raise MemoryError(f"{name} of {LIBRARY_FILE.name}")
    return result
