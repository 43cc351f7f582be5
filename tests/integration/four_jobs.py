"""One experiment of every job, and a program that tests them one after the other.

Run as a module, it is one process of several, started by torchrun or by what looks like SLURM.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import yaml
from lightning.pytorch import Callback
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from video_adapt.cli import VideoAdaptCLI
from video_adapt.video.synthetic_files import WorldSpec, write_world

MOTIONS = ("moves left", "moves right", "grows")
# One sample at a time, so that it meets the same arithmetic whoever computes it.
ALONE = {"batch_size": 3, "eval_batch_size": 1, "num_workers": 0}


def worlds(root, count):
    """Folders of four worlds, by job, with ``count`` samples to test with in each of them.

    A sample is a video, of detection a window: a video of ten seconds has three, which overlap.
    """
    windows, seconds = (3, 10) if count % 3 == 0 else (5, 16)
    specs = {
        "recognition": WorldSpec("trimmed", train=6, val=count, seconds=1.0, motions=MOTIONS),
        "detection": WorldSpec(
            "untrimmed",
            train=2,
            val=count // windows,
            seconds=seconds,
            motions=MOTIONS,
        ),
        "retrieval": WorldSpec("captioned", train=6, val=count, seconds=2.0),
        "open_vocabulary": WorldSpec(
            "openvocab", train=12, val=2 * count, seconds=1.0, motions=("moves right", "moves down")
        ),
    }
    for job, spec in specs.items():
        write_world(root / job, WorldSpec(**{**vars(spec), "size": 32, "fps": 4}), workers=1)
    return {job: root / job for job in specs}


def write_experiments(folder, tower, experiment, detection):
    """Experiment files by job, all to be given another ``root``."""
    backbone = {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}}
    schedule = {"class_path": "WarmupCosine", "init_args": {"max_epochs": 1}}
    retrieval = {
        "class_path": "TeachCLIP",
        "init_args": {
            "backbone": backbone,
            "student": {"kind": "afa", "layers": 1, "heads": 2},
            "optimizer": {"lr": 0.003, "tower_lr": 0.0003, "schedule": schedule},
        },
    }
    captions = {
        "class_path": "MSRVTTDataModule",
        "init_args": {
            "root": "",
            "train": "train.csv",
            "val": "test.csv",
            "captions": "captions.json",
            "sampler": {
                "class_path": "SecondSampler",
                "init_args": {"num_frames": 4, "per_second": 2},
            },
            "train_captions": "one",
            "loader": ALONE,
        },
    }
    spoken = {
        "class_path": "FROSTER",
        "init_args": {
            "backbone": backbone,
            "regime": "residual_only",
            "optimizer": {"new_lr": 0.001, "schedule": schedule},
        },
    }
    classes = {
        "class_path": "OpenVocabularyDataModule",
        "init_args": {
            "root": "",
            "classes": "classes.json",
            "part": "base",
            "train": "train.csv",
            "val": "val_base.csv",
            "test_sets": {
                "base": {"videos": "val_base.csv"},
                "novel": {"videos": "test_novel.csv", "part": "novel"},
            },
            "sampler": {"class_path": "CoveringSampler", "init_args": {"num_frames": 2}},
            "loader": ALONE,
            "eval_views": 2,
        },
    }
    folders = {job: folder / job for job in ("recognition", "detection")}
    for path in folders.values():
        path.mkdir(parents=True)
    return {
        "recognition": experiment(folders["recognition"], epochs=1, eval_views=2, loader=ALONE),
        "detection": detection(folders["detection"], loader={"batch_size": 1, "num_workers": 0}),
        "retrieval": _write(folder / "retrieval", retrieval, captions),
        "open_vocabulary": _write(folder / "open_vocabulary", spoken, classes),
    }


def _write(folder, model, data):
    folder.mkdir(parents=True)
    trainer = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "enable_progress_bar": False,
    }
    content = {"run_dir": str(folder / "run"), "model": model, "data": data, "trainer": trainer}
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def measure(plan, words, out):
    """Run ``test`` for every entry of a plan; write every bit of the figures of this process.

    Args:
        plan: Arguments by the name of the measurement.
        words: More arguments, the same for all.
        out: Folder of the figures, and of a run for each measurement.
    """
    for name, own in plan.items():
        sys.argv[1:] = ["test", *own, f"--run_dir={out / name}", *words]
        cli = VideoAdaptCLI("test")
        figures = {key: value.item().hex() for key, value in cli.trainer.callback_metrics.items()}
        path = out / f"{name}-rank{cli.trainer.global_rank}.json"
        path.write_text(json.dumps(figures, sort_keys=True))


class Exchange(Callback):
    """Counts the bytes that processes send one another to train alike.

    Attributes:
        gradients: Bytes of every bucket that was reduced.
        finds_unused: Whether every step looks for parameters that it did not use.
    """

    def __init__(self):
        self.gradients = []
        self.finds_unused = None

    def on_train_start(self, trainer, pl_module):
        def count(sizes, bucket):
            sizes.append(bucket.buffer().nbytes)
            return allreduce_hook(None, bucket)

        parallel = trainer.strategy.model
        parallel.register_comm_hook(self.gradients, count)
        self.finds_unused = parallel.find_unused_parameters


def train(plan, words, out):
    """Run ``fit`` for every entry of a plan; write what the processes sent one another."""
    exchange = f"--trainer.callbacks+={__spec__.name}.Exchange"
    for name, own in plan.items():
        sys.argv[1:] = ["fit", *own, f"--run_dir={out / name}", *words, exchange]
        broadcast = mock.Mock(side_effect=distributed._broadcast_coalesced)
        with mock.patch.object(distributed, "_broadcast_coalesced", broadcast):
            cli = VideoAdaptCLI("fit")
        (counter,) = [c for c in cli.trainer.callbacks if type(c).__name__ == "Exchange"]
        facts = {
            "steps": cli.trainer.global_step,
            "gradients": counter.gradients,
            "broadcast": sum(_bytes(call.args[1]) for call in broadcast.call_args_list),
            "trained": _bytes(p for p in cli.model.parameters() if p.requires_grad),
            "all": _bytes(cli.model.state_dict().values()),
            "finds_unused": counter.finds_unused,
        }
        path = out / f"{name}-rank{cli.trainer.global_rank}.json"
        path.write_text(json.dumps(facts))


def _bytes(tensors):
    return sum(tensor.nbytes for tensor in tensors)


if __name__ == "__main__":
    work, plan_file, out_folder, *more = sys.argv[1:]
    work_of = {"measure": measure, "train": train}
    work_of[work](json.loads(Path(plan_file).read_text()), more, Path(out_folder))
