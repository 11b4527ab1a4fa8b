"""What a command line asks to run: folder, stages, options of stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecgconsole.commands.options import workspace_of
from ecgconsole.commands.running import Request, chosen_stages
from ecgconsole.errors import ConfigurationError
from ecgconsole.stage import STAGE_NAMES


@pytest.mark.parametrize(
    ("request_", "folder"),
    [
        (Request(Path("a")), "a"),
        (Request(Path("a"), Path("b/config.json")), "a"),
        (Request(None, Path("b/config.json")), "b"),
        (Request(None, embeddings=(Path("c/embeddings/train_embeddings.npz"),)), "c"),
        (Request(None, patterns=Path("d/discovered_patterns.json")), "d"),
        (Request(None, features=(Path("e/clinical_features.csv"), Path("f/x.csv"))), "e"),
    ],
)
def test_the_output_folder_is_named_or_the_one_in_which_the_file_lies(request_, folder):
    assert request_.workspace.folder == Path(folder).absolute()


def test_a_preset_names_no_output_folder(tmp_path):
    with pytest.raises(ConfigurationError, match="-o DIR"):
        workspace_of(None, Path("configs/demo.json"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        workspace_of(tmp_path / "file")


def test_each_option_goes_to_its_stage_with_absolute_paths():
    request = Request(
        Path("a"),
        resume="x.pth",
        checkpoint=Path("y.pth"),
        rebuild=True,
        embeddings=(Path("e"),),
        patterns=Path("p"),
        features=(Path("f"), Path("g")),
    )
    here = str(Path.cwd())
    assert request.options() == {
        "build": {"rebuild": True},
        "train": {"resume": f"{here}/x.pth"},
        "embed": {"checkpoint": f"{here}/y.pth"},
        "discover": {"embeddings": [f"{here}/e"]},
        "validate": {"patterns": f"{here}/p"},
        "stroke": {"features": [f"{here}/f", f"{here}/g"]},
    }
    assert Request(Path("a"), resume="none").options() == {"train": {"resume": "none"}}
    assert Request(Path("a")).options() == {}


def test_stages_run_in_the_pipelines_order_however_they_are_named():
    assert [s.name for s in chosen_stages("train, build")] == ["build", "train"]
    assert tuple(s.name for s in chosen_stages(None)) == STAGE_NAMES
    assert [s.name for s in chosen_stages(None, build_dataset=True)] == ["build"]
    assert [s.name for s in chosen_stages(None, train_only=True)] == ["train"]
    for names in ("", ",", "build,nothing"):
        with pytest.raises(ConfigurationError, match="no stage"):
            chosen_stages(names)
