"""What the server of the workers imports for all of them, and how their garbage is collected.

What is imported stays to the end: the collector passes it by, in the server and in every worker.
"""

import gc

gc.disable()

from ecgconsole.dataset import forecast, header_index, merge, shards  # noqa: E402, F401

gc.freeze()
gc.enable()
