"""Modules of stages print when they are imported, and may die there."""

import os
import sys
import time

sys.stdout.write("words of an import\n")
sys.stdout.flush()
if os.environ.get("LOUD") == "abort":
    os.abort()
if os.environ.get("LOUD") == "raise":
    raise ImportError("libgone.so.1: cannot open shared object file")
if os.environ.get("LOUD") == "hang":
    time.sleep(600)


def run(config, workspace, reporter, stop):
    sys.stderr.write("words of a stage\n")
    return {"patients": config.build.max_patients}
