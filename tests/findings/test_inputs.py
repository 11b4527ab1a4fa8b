"""Embeddings files are checked before anything is computed from them."""

from __future__ import annotations

import numpy as np
import pytest

from ecgconsole.errors import InputError
from ecgconsole.findings.inputs import SPLITS, embedding_files, read_segments
from tests.findings.conftest import write_embeddings

FRACTIONS = (0.7, 0.15, 0.15)


def test_files_are_joined_in_the_order_of_their_segments(planted):
    made = read_segments(planted.files[::-1], FRACTIONS, 0)
    assert (made.segment_index == np.arange(len(planted.patient))).all()
    assert (made.embeddings == planted.embeddings).all()
    assert (made.patients[made.patient] == [f"p{p:06d}" for p in planted.patient]).all()
    assert [int(made.in_split(s).sum()) for s in SPLITS] == [1680, 360, 360]


def test_a_file_without_a_split_in_its_name_is_split_by_patient(planted, tmp_path):
    path = write_embeddings(tmp_path / "some.npz", np.arange(2400), planted.embeddings, planted.patient)
    made = read_segments([path], FRACTIONS, 0)
    assert np.bincount(made.patient_split).tolist() == [42, 9, 9]
    assert (read_segments([path], FRACTIONS, 0).patient_split == made.patient_split).all()
    assert (read_segments([path], FRACTIONS, 1).patient_split != made.patient_split).any()


def test_a_folder_holds_its_embeddings_or_says_so(planted, tmp_path):
    folder = planted.files[0].parent
    assert embedding_files(folder) == embedding_files(folder.parent) == sorted(planted.files)
    with pytest.raises(InputError, match="no embeddings at"):
        embedding_files(tmp_path / "nothing")


def test_what_contradicts_or_is_damaged_is_refused_by_name(planted, tmp_path):
    x, patient, rows = planted.embeddings, planted.patient, np.arange(100)
    a = write_embeddings(tmp_path / "train_a.npz", rows, x, patient)
    with pytest.raises(InputError, match="more than one split"):
        read_segments(
            [a, write_embeddings(tmp_path / "val_b.npz", rows + 100, x, np.zeros_like(patient))], FRACTIONS, 0
        )
    with pytest.raises(InputError, match="segment 0 occurs twice"):
        read_segments([a, a], FRACTIONS, 0)
    with pytest.raises(InputError, match="differ in length"):
        read_segments([a, write_embeddings(tmp_path / "train_c.npz", rows + 100, x[:, :5], patient)], FRACTIONS, 0)
    bad = x.copy()
    bad[7, 3] = np.inf
    with pytest.raises(InputError, match="row 7 is not finite"):
        read_segments([write_embeddings(tmp_path / "d.npz", rows, bad, patient)], FRACTIONS, 0)
    np.savez(tmp_path / "e.npz", embeddings=x)
    with pytest.raises(InputError, match="lacks segment_index"):
        read_segments([tmp_path / "e.npz"], FRACTIONS, 0)
    a.write_bytes(a.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        read_segments([a], FRACTIONS, 0)


class Bomb:
    def __reduce__(self):
        return (print, ("ran",))


def test_a_pickle_in_the_file_is_never_run(tmp_path, capsys):
    np.savez(
        tmp_path / "x.npz",
        embeddings=np.array([Bomb()], dtype=object),
        segment_index=[0],
        patient_id=["p"],
        record=["r"],
        start_seconds=[0.0],
    )
    with pytest.raises(InputError, match="plain arrays"):
        read_segments([tmp_path / "x.npz"], FRACTIONS, 0)
    assert capsys.readouterr().out == ""
