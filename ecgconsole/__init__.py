"""ecgconsole: from raw ICU waveforms to findings that survive a referee."""

__version__ = "0.1.0"
