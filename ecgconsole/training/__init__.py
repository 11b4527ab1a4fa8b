"""From ``full_dataset.h5`` to encoders, checkpoints and embeddings."""

import os

# Read by OpenMP when torch is first imported. Its threads otherwise wait for each other by spinning, and on a
# machine that does anything else besides, they mostly spin: two threads on two busy cores encoded 35 to 75
# segments/s so, 150 to 240 when they sleep instead.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
