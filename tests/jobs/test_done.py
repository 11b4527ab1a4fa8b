from __future__ import annotations

import os

import pytest
from fake_stages import PIPELINE

from ecgconsole.config import resolve
from ecgconsole.errors import Stopped
from ecgconsole.jobs.done import files_digest, inputs_of, read_records, record_done, why_not_done
from ecgconsole.workspace import Workspace

BUILD, TRAIN, _ = PIPELINE


def config(*overrides):
    return resolve(None, overrides, environment={}).config


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "recordings"
    (folder / "p00").mkdir(parents=True)
    (folder / "p00" / "a.dat").write_bytes(b"1234")
    (folder / "b.hea").write_text("x")
    return folder


def test_the_digest_of_a_folder_follows_every_file_in_it(tree):
    first = files_digest(str(tree))
    assert files_digest(str(tree)) == first
    changes = [
        lambda: (tree / "p00" / "a.dat").write_bytes(b"12345"),
        lambda: os.utime(tree / "b.hea", (1, 1)),
        lambda: (tree / "new").write_text(""),
        lambda: (tree / "p00" / "a.dat").rename(tree / "p00" / "c.dat"),
        lambda: (tree / "b.hea").unlink(),
    ]
    seen = [first]
    for change in changes:
        change()
        seen.append(files_digest(str(tree)))
    assert len(set(seen)) == len(seen)


def test_links_are_followed_and_a_circle_or_a_dangling_one_ends(tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "r.dat").write_text("1")
    (tree / "link").symlink_to(elsewhere)
    (tree / "circle").symlink_to(tree)
    (tree / "dangling").symlink_to(tmp_path / "nowhere")
    before = files_digest(str(tree))
    (elsewhere / "r.dat").write_text("22")
    assert files_digest(str(tree)) != before


def test_what_is_not_there_is_told_apart_from_what_is_not_named(tmp_path):
    assert files_digest(None) is None
    assert files_digest(str(tmp_path / "none")) == "absent"


def test_a_long_walk_can_be_given_up(tree):
    def check():
        raise Stopped("stop")

    with pytest.raises(Stopped):
        files_digest(str(tree), check)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 99, "stages": {}}', '{"format": 1, "stages": {"build": 1}}']
)
def test_a_record_that_cannot_be_read_says_that_nothing_is_done(tmp_path, content):
    workspace = Workspace(tmp_path)
    workspace.stages.write_text(content)
    assert read_records(workspace) == {}
    inputs = inputs_of(BUILD, config(), workspace, {}, PIPELINE)
    assert why_not_done(BUILD, inputs, workspace) == "not done yet"


def test_execution_settings_rerun_nothing_and_results_of_the_same_content_do_not_spread(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.dataset.write_text("data")
    record_done(BUILD, inputs_of(BUILD, config(), workspace, {}, PIPELINE), workspace, {"content_sha256": "c"}, "0001")
    assert (
        why_not_done(BUILD, inputs_of(BUILD, config("build.num_workers=7"), workspace, {}, PIPELINE), workspace) is None
    )
    before = inputs_of(TRAIN, config(), workspace, {}, PIPELINE)
    workspace.dataset.write_text("data again")
    record_done(BUILD, inputs_of(BUILD, config(), workspace, {}, PIPELINE), workspace, {"content_sha256": "c"}, "0002")
    assert inputs_of(TRAIN, config(), workspace, {}, PIPELINE) == before
    workspace.dataset.write_text("changed behind our back")
    assert inputs_of(TRAIN, config(), workspace, {}, PIPELINE).upstream != before.upstream
    assert why_not_done(BUILD, inputs_of(BUILD, config(), workspace, {}, PIPELINE), workspace) == (
        "its files changed or are missing"
    )


def test_files_that_an_option_names_are_inputs(tmp_path):
    workspace, features = Workspace(tmp_path), [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    seen = []
    for content in ("1", "22"):
        (tmp_path / "b.csv").write_text(content)
        seen.append(inputs_of(TRAIN, config(), workspace, {"features": features}, PIPELINE).options)
    seen.append(inputs_of(TRAIN, config(), workspace, {"features": features[:1]}, PIPELINE).options)
    seen.append(inputs_of(TRAIN, config(), workspace, {}, PIPELINE).options)
    assert len(set(seen)) == 4
    assert inputs_of(TRAIN, config(), workspace, {"resume": "none"}, PIPELINE).options == seen[-1]
