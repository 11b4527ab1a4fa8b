"""Another split of the dataset in place: everything else in it stays, and no recording is read.

While the files that hold a split are replaced, one after the other, a marker lies in the folder of shards: they do not
belong together, and the next build, whatever split it wants, comes here again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ecgconsole.config import Config
from ecgconsole.dataset.finished import identity_in_place, result_in_place
from ecgconsole.dataset.identity import split_marker
from ecgconsole.dataset.segments import as_bytes
from ecgconsole.dataset.shards import check_space, writing_error
from ecgconsole.dataset.storage import (
    LIBVER,
    THREADS,
    RowsWriter,
    add_to_hash,
    check_stored,
    dataset_paths,
    hash_header,
    import_zstd,
    read_whole,
)
from ecgconsole.dataset.workers import Workers, call
from ecgconsole.errors import InputError
from ecgconsole.stage import Reporter
from ecgconsole.workspace import Workspace, replacing, write_atomically

# Where the file says who is where, and by which column.
SPLIT_COLUMNS = {"/segment/split": "/segment/patient_id", "/patient/split": "/patient/id"}


def another_split(
    identity: str,
    split_file: dict[str, str],
    config: Config,
    workspace: Workspace,
    workers: Workers,
    reporter: Reporter,
) -> dict[str, Any] | None:
    """Gives the dataset in place the split that ``config`` asks for; the result of the stage, equal in every byte of
    content to that of a fresh build. None where what is in place differs from that in more than the split, or is
    damaged.
    """
    in_place = identity_in_place(workspace)
    if in_place is None or in_place.partition(".")[0] != identity.partition(".")[0]:
        return None
    # Half a second to import, which few builds need here.
    import pandas as pd

    from ecgconsole.dataset import tables
    from ecgconsole.dataset.assemble import drawn_split

    try:
        frame = pd.read_parquet(workspace.metadata)
        frame["split"] = drawn_split(frame, split_file, config, reporter)
    except (OSError, ValueError, KeyError):
        return None  # damaged, or not ours: the build makes it anew
    split_of = dict(zip(frame["patient_id"], frame["split"], strict=True))
    attributes = {"build_identity": identity, "split": config.split.model_dump(mode="json")}
    write_atomically(split_marker(workspace), "")
    try:
        call(workers, rewrite, workspace.dataset, split_of, attributes, config.build.compression)
    except InputError:
        return None
    with replacing(workspace.metadata) as temporary:
        frame.to_parquet(temporary, index=False)
    write_atomically(workspace.clinical_features, tables.features_csv(frame))
    return result_in_place(workspace)


def rewrite(path: Path, split_of: dict[str, str], attributes: dict[str, Any], compression: str) -> None:
    """Replaces the file at ``path`` by one with the split ``split_of`` of its patients, verified. Runs in a process
    that may die.

    Raises ``InputError`` where the file's content is not what its hash says, or of other patients; ``MachineError``
    where the disk cannot hold a second one.
    """
    needed = path.stat().st_size
    check_space(path.parent, needed)
    if compression == "zstd":
        import_zstd()
    try:
        with replacing(path) as temporary:
            shutil.copyfile(path, temporary)
            with h5py.File(temporary, "r+", libver=LIBVER, locking=False) as file:
                columns = {name: _column(file, ids, split_of, path) for name, ids in SPLIT_COLUMNS.items()}
                was, becomes = _hashes(file, columns)
                if was != file.attrs["content_sha256"]:
                    raise InputError(f"{path}: its content does not have the hash that the file names")
                for name, values in columns.items():
                    del file[name]
                    writer = RowsWriter(file, name, values.dtype, (), len(values), compression)
                    writer.append(values)
                    writer.close()
                parameters = json.loads(file.attrs["parameters"])
                parameters["split"] = attributes["split"]
                file.attrs["parameters"] = json.dumps(parameters, sort_keys=True)
                file.attrs["build_identity"] = attributes["build_identity"]
                file.attrs["content_sha256"] = becomes
            with h5py.File(temporary, "r", locking=False) as file:
                check_stored(file)
    except OSError as error:
        raise writing_error(error, path.parent, needed) from error


def _column(file: h5py.File, ids: str, split_of: dict[str, str], path: Path) -> np.ndarray:
    """The split of each row, (n,) S5."""
    unique, inverse = np.unique(read_whole(file[ids]), return_inverse=True)
    known = {as_bytes(patient): split.encode() for patient, split in split_of.items()}
    if not known.keys() >= set(unique.tolist()):
        raise InputError(f"{path}: it holds patients that full_dataset_metadata.parquet does not")
    return np.array([known[patient] for patient in unique.tolist()], "S5")[inverse]


def _hashes(file: h5py.File, columns: dict[str, np.ndarray]) -> tuple[str, str]:
    """``content_sha256`` of the file as it is, and as it will be with ``columns``; the rest is read once for both."""
    both = _Both()
    with ThreadPoolExecutor(THREADS) as pool:
        for name in dataset_paths(file):
            if name in columns:
                add_to_hash(both.was, name, file[name], pool)
                both.becomes.update(hash_header(name, columns[name].dtype, columns[name].shape))
                both.becomes.update(columns[name].data)
            else:
                add_to_hash(both, name, file[name], pool)
    return both.was.hexdigest(), both.becomes.hexdigest()


class _Both:
    """Two digests, fed with the same bytes."""

    def __init__(self) -> None:
        self.was, self.becomes = hashlib.sha256(), hashlib.sha256()

    def update(self, data: Any) -> None:
        self.was.update(data)
        self.becomes.update(data)
