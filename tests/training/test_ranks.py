"""Several ranks do what one process does with the joined batch, and outlive the death of one of them."""

from __future__ import annotations

import psutil
import pytest
import torch

from ecgconsole.training.checkpoints import load
from ecgconsole.workspace import Workspace

from . import two_ranks
from .material import Recorder, trained

TWO = "training.world_size=2"


def ranks_alive() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, dataset_path) -> tuple[Workspace, Recorder]:
    workspace, recorder = Workspace(tmp_path_factory.mktemp("alone")), Recorder()
    workspace.dataset.symlink_to(dataset_path)
    trained(workspace, "training.num_epochs=2", recorder=recorder)
    return workspace, recorder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, dataset_path) -> tuple[Workspace, Recorder, dict]:
    workspace, recorder = Workspace(tmp_path_factory.mktemp("together")), Recorder()
    workspace.dataset.symlink_to(dataset_path)
    result = trained(workspace, TWO, "training.num_epochs=2", recorder=recorder)
    return workspace, recorder, result


@pytest.mark.slow
def test_two_ranks_train_as_one_process_does_with_the_joined_batch(alone, together):
    """The same losses and monitors, epoch by epoch, and the same weights, but for the order of sums."""
    one, two = ([e for e in r.of("metric") if "val_loss" in e["values"]] for r in (alone[1], together[1]))
    assert [e["epoch"] for e in one] == [e["epoch"] for e in two] == [0, 1, 2]
    for a, b in zip(one, two, strict=True):
        assert a["values"].keys() == b["values"].keys()
        for name in a["values"].keys() - {"loader_wait_share", "segments_per_second"}:
            assert b["values"][name] == pytest.approx(a["values"][name], rel=2e-3, abs=2e-4), (a["epoch"], name)
    mine, theirs = (load(w.latest_checkpoint).contents["model"] for w in (alone[0], together[0]))
    for name, weights in mine.items():
        torch.testing.assert_close(theirs[name], weights, rtol=5e-3, atol=5e-4)
    assert together[2]["epochs"] == 2
    assert together[1].warnings() == []
    assert not ranks_alive()


@pytest.fixture(scope="module")
def one_batch(tmp_path_factory: pytest.TempPathFactory, dataset_path) -> tuple[list[dict], dict]:
    folder = tmp_path_factory.mktemp("two_ranks")
    torch.multiprocessing.spawn(two_ranks.main, (str(dataset_path), str(folder)), nprocs=2)
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return found, two_ranks.alone(dataset_path)


@pytest.mark.parametrize("case", two_ranks.CASES)
def test_loss_terms_and_gradients_of_one_batch_are_those_of_one_process(one_batch, case):
    """Whole, in pieces, and with a signal that only one rank has, or none: an unused parameter keeps no gradient."""
    found, expected = one_batch
    terms, gradients = expected[case]
    assert terms.keys() == {"loss", *(f"loss_{term}" for term in two_ranks.CASES[case][2])}
    assert all(value > 0 for value in terms.values()) or case == "ecg"
    for rank in found:
        assert rank[case][0].keys() == terms.keys()
        for name, value in terms.items():
            torch.testing.assert_close(rank[case][0][name], value, rtol=1e-5, atol=1e-6)
        assert rank[case][1].keys() == gradients.keys()
        for name, gradient in gradients.items():
            own = rank[case][1][name]
            assert (own is None) == (gradient is None), name
            if gradient is not None:
                torch.testing.assert_close(own, gradient, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
    for name in gradients:
        a, b = (rank[case][1][name] for rank in found)
        assert a is b is None or torch.equal(a, b), name


def test_when_the_memory_of_one_rank_ends_all_try_again_together(one_batch):
    assert [rank["out of memory"] for rank in one_batch[0]] == [["out of memory"] * 2] * 2
