"""The commands as a user or a script meets them: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from ecgconsole.config import Config, flatten
from ecgconsole.jobs.events import EventWriter
from ecgconsole.jobs.processes import this_process
from ecgconsole.jobs.snapshot import Snapshot, fold
from ecgconsole.jobs.state import write_state
from ecgconsole.stage import STAGE_NAMES
from ecgconsole.workspace import Workspace

COMMANDS = (
    *("run", "status", "stop", "pause", "resume", "checkpoint-now", "attach", "checkpoints", "config"),
    *("synth", "inspect", "doctor", *STAGE_NAMES),
)


def loaded(code: str, *modules: str) -> list[str]:
    """Which of the modules a fresh interpreter has imported after running the code."""
    tell = f"lambda: sys.stderr.write('imported: ' + ' '.join(m for m in {modules!r} if m in sys.modules))"
    program = f"import atexit, sys\natexit.register({tell})\n{code}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    _, told, names = result.stderr.rpartition("imported: ")
    assert told, result.stderr
    return names.split()


HEAVY = ("torch", "h5py", "textual", "pandas", "scipy", "sklearn", "duckdb")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["status", "--help"], ["config", "show"]])
def test_help_and_small_commands_import_nothing_heavy(arguments):
    code = f"sys.argv[1:] = {arguments!r}; from ecgconsole.cli import main; main()"
    assert loaded(code, *HEAVY) == []


def test_a_headless_run_never_imports_textual_nor_science(tmp_path):
    out, recordings = tmp_path / "out", tmp_path / "empty"
    recordings.mkdir()
    arguments = ["run", "--no-tui", "-o", str(out), "--set", f"data.waveform_dir={recordings}"]
    code = f"sys.argv[1:] = {arguments!r}; from ecgconsole.cli import main; main()"
    assert [m for m in loaded(code, *HEAVY) if m in HEAVY] == []
    assert Workspace(out).run_ids() == ["0001"]  # it did run


def test_every_command_of_the_interface_is_there(cli):
    shown = cli("--help").stdout
    assert [c for c in COMMANDS if f"\n  {c} " not in shown] == []


def test_without_a_terminal_the_console_says_what_to_do(cli, tmp_path):
    for arguments in ([], ["-o", tmp_path], ["attach", "-o", tmp_path]):
        result = cli(*arguments)
        assert result.returncode == 2
        assert "run --no-tui" in result.stderr


@pytest.mark.parametrize("command", [*STAGE_NAMES, "run", "status", "stop", "pause"])
def test_a_missing_output_folder_is_a_usage_error_that_says_how(cli, command, tmp_path):
    before = set(tmp_path.iterdir())
    result = cli(command)
    assert result.returncode == 2
    assert "-o DIR" in result.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--stages", "build,trian", "-o", "x"], "no stage trian; there are build, train"),
        (["run", "--build-dataset", "--train-only", "-o", "x"], "exclude each other"),
        (["build", "--stages", "train", "-o", "x"], "runs build alone"),
        (["-o", "x", "status"], "ecgconsole status -o DIR"),
        (["run", "--max-patients", "many", "-o", "x"], "Invalid value for '--max-patients'"),
        (["run", "--max-patients", "0", "-o", "x"], "build.max_patients"),
        (["dance"], "No such command"),
        (["run", "--set", "training.seed", "-o", "x"], "key=value"),
        (["run", "-c", "none.json", "-o", "x"], "cannot read the configuration"),
    ],
)
def test_usage_errors_exit_2_and_leave_nothing(cli, tmp_path, arguments, words):
    result = cli(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "x").exists()


def test_every_problem_of_a_configuration_is_named_at_once(cli, tmp_path):
    text = """{"training": {"learning_rate": "fast", "learing_rate": 1, "batch_size": 8, "batch_size": 16},
              "build": {"segment_seconds": NaN}, "max_patients": -1}"""
    (tmp_path / "c.json").write_text(text)
    result = cli("run", "--no-tui", "-c", "c.json", "-o", "x")
    assert result.returncode == 2
    for path in ("training.learning_rate", "training.learing_rate", "training.batch_size: given twice",
                 "build.segment_seconds", "build.max_patients"):  # fmt: skip
        assert path in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_byte_order_mark_is_accepted_and_every_source_is_known(cli, tmp_path):
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf{"batch_size": 64, "num_workers": 3}')
    result = cli("config", "show", "-c", "c.json", "--set", "training.seed=7", "--json",
                 env={"ECGCONSOLE_TRAINING__NUM_EPOCHS": "9"})  # fmt: skip
    shown = json.loads(result.stdout)
    assert shown["training.batch_size"] == {"value": 64, "source": "c.json"}
    assert shown["build.num_workers"]["value"] == shown["training.num_workers"]["value"] == 3
    assert shown["training.num_epochs"] == {"value": 9, "source": "environment ECGCONSOLE_TRAINING__NUM_EPOCHS"}
    assert shown["training.seed"] == {"value": 7, "source": "command line"}
    assert shown["model.embedding_dim"]["source"] == "default"
    assert set(shown) == set(flatten(Config().model_dump()))


def test_config_init_check_diff_schema(cli, tmp_path):
    assert cli("config", "init", "mine.json", "--preset", "small").returncode == 0
    assert cli("config", "init", "mine.json").returncode == 2  # it exists
    assert cli("config", "check", "mine.json").returncode == 0
    assert json.loads((tmp_path / "mine.json").read_text())["build"]["max_patients"] == 20
    assert cli("config", "init", "other.json", "--preset", "small", "--set", "training.seed=3").returncode == 0
    assert cli("config", "diff", "mine.json", "mine.json").returncode == 0
    result = cli("config", "diff", "mine.json", "other.json")
    assert (result.returncode, result.stdout) == (1, "training.seed: 0 → 3\n")
    assert "training" in json.loads(cli("config", "schema").stdout)["properties"]
    assert cli("config", "init", "new.json", "--preset", "huge").returncode == 2
    (tmp_path / "mine.json").write_text('{"data": {"waveform_dir": "/no/such/folder"}}')
    assert cli("config", "check", "mine.json").returncode == 3


def test_the_folders_own_configuration_goes_on(cli, tmp_path):
    """A run without usable input fails, but what it was given is the next command's file layer."""
    (tmp_path / "empty").mkdir()
    first = cli("run", "--no-tui", "-o", "out", "--set", "data.waveform_dir=empty", "--set", "training.seed=5")
    assert first.returncode == 3
    assert first.stderr.startswith("ecgconsole: ")
    assert str(tmp_path / "empty") in first.stderr
    shown = json.loads(cli("config", "show", "-o", "out", "--json").stdout)
    assert shown["training.seed"] == {"value": 5, "source": str(tmp_path / "out" / "config.json")}
    again = cli("build", "-c", "out/config.json", "--output", "json", "--max-patients", "3")  # says the folder, too
    assert again.returncode == 3
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert events[0]["run_id"] == "0002"
    assert events[0]["stages"] == ["build"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["build"]["max_patients"] == 3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["training"]["seed"] == 5


def test_the_briefs_own_flags_work_without_a_command(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    where = {"ECGCONSOLE_DATA__WAVEFORM_DIR": str(tmp_path / "empty")}
    result = cli("--build-dataset", "--max-patients", "100", "--output-dir", "production_test", env=where)
    assert result.returncode == 3
    assert "run 0001" in result.stdout
    train = cli("--train-only", "--config", "production_test/config.json", env=where)
    assert "train" in train.stdout
    assert train.returncode == 3  # no dataset there yet
    assert "full_dataset.h5" in train.stderr


def test_status_of_nothing(cli, tmp_path):
    assert cli("status", "-o", "none").returncode == 3
    assert cli("status", "-o", tmp_path).stdout == f"no job has run in {tmp_path}\n"
    assert json.loads(cli("status", "-o", tmp_path, "--json").stdout)["status"] == "none"
    assert cli("stop", "-o", tmp_path).returncode == 0
    assert cli("pause", "-o", tmp_path).returncode == 1


def test_status_is_sanitised_even_in_a_folder_from_elsewhere(cli, tmp_path):
    workspace, evil = Workspace(tmp_path / "out"), "\x1b]52;c;evil\x07[bold]x"
    run = workspace.new_run()
    writer, snapshot = EventWriter(run.events), Snapshot()
    for fields in ({"kind": "run_started", "stages": ["build"]}, {"kind": "warning", "code": "c", "message": "m"}):
        snapshot = fold(snapshot, writer.write(fields))
    write_state(run.state, this_process(), {}, snapshot)
    state = run.state.read_text().replace('"m"', json.dumps(evil)).replace('"build"', json.dumps(evil))
    run.state.write_text(state)
    shown = cli("status", "-o", workspace.folder)
    assert shown.returncode == 0
    assert "[bold]x" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr


def test_inspect_reads_embeddings_and_refuses_pickles(cli, tmp_path):
    patients = np.array(["a", "a", "b"])
    np.savez(tmp_path / "e.npz", embeddings=np.ones((3, 8), np.float32), patient_id=patients)
    facts = json.loads(cli("inspect", "e.npz", "--verify", "--json").stdout)
    assert (facts["segments"], facts["patients"], facts["embedding_dim"], facts["finite"]) == (3, 2, 8, True)
    assert len(facts["sha256"]) == 64

    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/sprung",)

    np.savez(tmp_path / "p.npz", embeddings=np.array([Trap()], dtype=object), patient_id=patients)
    assert cli("inspect", "p.npz").returncode == 3
    assert not (tmp_path / "sprung").exists()
    (tmp_path / "t.npz").write_bytes((tmp_path / "e.npz").read_bytes()[:200])
    (tmp_path / "j.h5").write_bytes(b"junk" * 100)
    (tmp_path / "n.txt").write_text("")
    for name in ("t.npz", "j.h5", "n.txt", "absent.h5"):
        result = cli("inspect", name)
        assert result.returncode == 3
        assert result.stderr.count("\n") == 1


def test_doctor_looks_at_machine_folder_and_inputs(cli, tmp_path):
    result = cli("doctor", "-o", "out", "--json")
    checks = {c["name"]: c for c in json.loads(result.stdout)}
    assert result.returncode == 0
    assert checks["hdf5"]["ok"]
    assert checks["folder"]["ok"]
    assert not checks["inputs"]["ok"]
    assert not (tmp_path / "out").exists()
    missing = cli("doctor", "-o", "out", "--set", "data.waveform_dir=/no/such/folder")
    assert missing.returncode == 3
    assert "✖ data.waveform_dir" in missing.stdout


def test_doctor_forecasts_from_the_headers(cli, tmp_path):
    assert cli("synth", "cohort", "--patients", 2, "--hours", 0.3, "--workers", 1).returncode == 0
    result = cli("doctor", "-o", "out", "--set", "data.waveform_dir=cohort/waveforms",
                 "--set", "build.min_segments_per_patient=1")  # fmt: skip
    assert result.returncode == 0
    assert re.search(r"✔ forecast    [12] patients?, about [1-9]\d* segments, ", result.stdout)
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_an_empty_folder(cli, tmp_path):
    assert json.loads(cli("checkpoints", "list", "-o", tmp_path, "--json").stdout) == []
    assert cli("checkpoints", "verify", "-o", tmp_path).returncode == 3
    assert cli("checkpoints", "show", "best", "-o", tmp_path).returncode == 3


def test_completion_is_offered_for_each_shell(cli):
    for shell in ("bash", "zsh", "fish"):
        result = cli(env={"_ECGCONSOLE_COMPLETE": f"source_{shell}", "SHELL": f"/bin/{shell}"})
        assert "ecgconsole" in result.stdout


def test_version(cli):
    assert cli("--version").stdout.startswith("ecgconsole ")
