"""What trains, spread over processes, becomes what it becomes where every process has it whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch.distributed.tensor import DTensor

from tests.integration import test_open_vocabulary, test_retrieval
from tests.integration.test_resume import assert_equal

captioned_world, retrieval = test_retrieval.captioned_world, test_retrieval.retrieval
spoken_world, spoken = test_open_vocabulary.spoken_world, test_open_vocabulary.spoken

ROOT = Path(__file__).parents[2]
JOBS = ("recognition", "detection", "retrieval", "open_vocabulary", "open_vclip")
WEIGHTS = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")
FULL = "--model.init_args.tuning=full"
EMBEDDING = (FULL, "--model.init_args.readout=embedding")
STOP = (
    "--trainer.callbacks+=tests.integration.test_fully_sharded.StopsAtStep",
    "--trainer.callbacks.step=2",
)
SHARES = "--trainer.callbacks+=tests.integration.test_fully_sharded.Shares"


class StopsAtStep(Callback):
    """Asks its process to stop."""

    def __init__(self, step: int):
        self.step = step

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step - 1:
            os.kill(os.getpid(), 15)


class Shares(Callback):
    """Writes how much of what trains a process keeps between steps, numbers of elements."""

    def on_train_epoch_end(self, trainer, pl_module):
        trained = [p for p in pl_module.parameters() if p.requires_grad]
        optimizer = trainer.optimizers[0]
        states = [v for p in trained for v in optimizer.state[p].values() if v.ndim]
        facts = {
            "whole": sum(p.numel() for p in trained),
            "weights": sum(map(_held, trained)),
            "states": sum(map(_held, states)),
            "frozen": sum(isinstance(p, DTensor) for p in pl_module.parameters())
            - sum(isinstance(p, DTensor) for p in trained),
        }
        path = Path(trainer.default_root_dir, f"shares{trainer.global_rank}.json")
        path.write_text(json.dumps(facts))


def _held(tensor):
    return tensor.to_local().numel() if isinstance(tensor, DTensor) else tensor.numel()


def fit(strategy, folder, *words, code=0):
    """Train in two processes; where the run lies."""
    command = [sys.executable, "-m", "video_adapt", "fit", *map(str, words)]
    command += [f"--run_dir={folder}", "--trainer.devices=2", f"--trainer.strategy={strategy}"]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "warn" not in said.lower(), said
    return folder


def assert_equal_runs(mine, other):
    """Equal weights, averages, optimiser and predictions, to the last bit."""
    names = {path.name for path in (other / "checkpoints").iterdir()}
    assert {path.name for path in (mine / "checkpoints").iterdir()} == names
    for name in names - {"previous.ckpt"}:  # of a stopped run, where it stopped
        ours, theirs = (torch.load(folder / "checkpoints" / name) for folder in (mine, other))
        assert theirs["state_dict"]
        for part in WEIGHTS:
            assert_equal(ours.get(part), theirs.get(part), f"{name} {part}")
    assert (mine / "val/metrics.json").read_bytes() == (other / "val/metrics.json").read_bytes()


def test_shares_train_and_go_on_as_whole_weights_do(experiment, tmp_path):
    """Full fine-tuning, stopped behind its second step of six."""
    path = experiment(
        tmp_path, method="TunedClassifier", loader={"batch_size": 2, "num_workers": 0}
    )
    words = ("-c", path, *EMBEDDING, "--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.5")
    whole = fit("ddp", tmp_path / "whole", *words)
    shared = fit("fsdp", tmp_path / "shared", *words, *STOP, SHARES, code=75)
    fit("fsdp", tmp_path / "shared", *words, SHARES, "--ckpt_path=auto")
    assert_equal_runs(shared, whole)
    facts = [json.loads((shared / f"shares{rank}.json").read_text()) for rank in range(2)]
    number = facts[0]["whole"]
    assert sum(fact["weights"] for fact in facts) == pytest.approx(number, rel=0.01)
    assert max(fact["weights"] for fact in facts) < 0.6 * number
    assert max(fact["states"] for fact in facts) < 2 * 0.6 * number
    assert facts[0]["frozen"] == 0


@pytest.mark.slow
def test_another_strategy_goes_on_with_the_checkpoint(experiment, tmp_path):
    path = experiment(
        tmp_path, method="TunedClassifier", loader={"batch_size": 2, "num_workers": 0}
    )
    words = ("-c", path, *EMBEDDING)
    whole = fit("ddp", tmp_path / "whole", *words)
    for first, then in (("fsdp", "ddp"), ("ddp", "fsdp")):
        folder = fit(first, tmp_path / first, *words, *STOP, code=75)
        fit(then, folder, *words, "--ckpt_path=auto")
        assert_equal_runs(folder, whole)


@pytest.fixture
def written(experiment, detection, retrieval, spoken, tmp_path):
    """Words that train a job, and whatever of it can."""
    clip = ("--trainer.gradient_clip_val=1000",)

    def open_vclip():
        path = spoken(tmp_path)
        content = yaml.safe_load(path.read_text())
        content["model"]["class_path"] = "OpenVCLIP"
        del content["model"]["init_args"]["regime"]
        path.write_text(yaml.safe_dump(content))
        return (path,)

    return {
        "recognition": lambda: (experiment(tmp_path),),
        "detection": lambda: (
            detection(tmp_path, backbone="VideoMAE", loader={"batch_size": 1, "num_workers": 0}),
            FULL,
            *clip,
        ),
        "retrieval": lambda: (retrieval(tmp_path),),
        "open_vocabulary": lambda: (
            spoken(tmp_path),
            "--model.init_args.regime=full",
            "--model.init_args.optimizer.lr=1e-4",
            "--model.init_args.optimizer.schedule.init_args.max_epochs=2",
            "--trainer.max_epochs=2",
            "--trainer.callbacks+=EpochAverage",
            "--trainer.callbacks.first_epoch=1",
            *clip,
        ),
        "open_vclip": open_vclip,
    }


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_job_trains_in_shares(job, written, tmp_path):
    """DiST, VideoMAE, a student, CLIP with both towers, and one whose weights a step reads.

    Norms of gradients are not clipped: they sum in another order.
    """
    words = ("-c", *written[job]())
    whole, shared = (fit(name, tmp_path / name, *words) for name in ("ddp", "fsdp"))
    assert_equal_runs(shared, whole)
