"""Compiles ``ecgconsole/signals/kernels.c`` when the package is built or installed."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# No -ffast-math and no contraction: the kernels round as NumPy does. No -march: a wheel may be used elsewhere.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")


class CompileKernels(BuildHookInterface[Any]):
    """Without a C compiler the package works too, its build of datasets more slowly (``ecgconsole doctor`` says so)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / "ecgconsole" / "signals"
        library, partial = folder / "_kernels.so", folder / "_kernels.partial.so"
        source = folder / "kernels.c"
        identity = f'-DSOURCE_SHA256="{hashlib.sha256(source.read_bytes()).hexdigest()}"'
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *FLAGS, identity, "-o", str(partial), str(source), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            library.unlink(missing_ok=True)
            self.app.display_warning(
                f"kernels.c was not compiled, NumPy does its work: {error} {getattr(error, 'stderr', None) or ''}"
            )
            return
        partial.replace(library)
        build_data["artifacts"].append("/ecgconsole/signals/_kernels.so")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
