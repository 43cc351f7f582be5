"""Figures of one, two and three processes are the same to the last bit, for all four jobs."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import run
from tests.integration.four_jobs import measure, worlds, write_experiments

ROOT = Path(__file__).parents[2]
JOBS = ("recognition", "detection", "retrieval", "open_vocabulary")
QUIET = "--trainer.logger=false"
# Three processes divide 21, none divides 25.
COUNTS = (21, 25)


@pytest.fixture(scope="module")
def experiments(tmp_path_factory, tower, experiment, detection):
    """Experiment files by job."""
    folder = tmp_path_factory.mktemp("four_jobs") / "experiments"
    return write_experiments(folder, tower, experiment, detection)


@pytest.fixture(scope="module")
def by_count(tmp_path_factory):
    """Folders of worlds by job, by the number of samples to test with."""
    root = tmp_path_factory.mktemp("worlds")
    return {count: worlds(root / str(count), count) for count in COUNTS}


@pytest.fixture(scope="module")
def plan(tmp_path_factory, experiments, by_count):
    """Arguments of ``test`` for every job and number of samples, each with trained weights."""
    root = tmp_path_factory.mktemp("trained")
    plan = {}
    for job, path in experiments.items():
        words = ("-c", path, f"--data.init_args.root={by_count[21][job]}", QUIET)
        assert run("fit", *words, f"--run_dir={root / job}") == 0
        weights = root / job / "checkpoints/last.ckpt"
        for count in COUNTS:
            folder = f"--data.init_args.root={by_count[count][job]}"
            plan[f"{job}-{count}"] = ["-c", str(path), folder, f"--ckpt_path={weights}", QUIET]
    return plan


def environment(**more):
    """One thread a process, for sums may round differently over more of them."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def by_torchrun(work, plan_file, out, processes):
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = ["-m", "tests.integration.four_jobs", work, plan_file, out]
    words = [f"--nproc-per-node={processes}", *program, f"--trainer.devices={processes}"]
    subprocess.run([*starter, *map(str, words)], check=True, timeout=900, env=environment())


def by_slurm(work, plan_file, out, processes):
    """What ``srun`` leaves in the environment of each of its tasks."""
    words = [work, plan_file, out, f"--trainer.devices={processes}", "--trainer.strategy=ddp"]
    program = [sys.executable, "-m", "tests.integration.four_jobs", *map(str, words)]
    tasks = []
    for rank in range(processes):
        facts = {
            "JOB_ID": str(os.getpid()),
            "JOB_NAME": "experiment",
            "NTASKS": str(processes),
            "NTASKS_PER_NODE": str(processes),
            "NNODES": "1",
            "NODEID": "0",
            "NODELIST": "127.0.0.1",
            "PROCID": str(rank),
            "LOCALID": str(rank),
        }
        settings = environment(**{f"SLURM_{key}": value for key, value in facts.items()})
        tasks.append(subprocess.Popen(program, env=settings))
    try:
        assert [task.wait(900) for task in tasks] == [0] * processes
    finally:
        for task in tasks:
            task.kill()


@pytest.fixture(scope="module")
def measured(plan, tmp_path_factory):
    """Folder of what each number of processes measured."""
    root = tmp_path_factory.mktemp("measured")
    folders = {count: root / str(count) for count in (1, 2, 3)}
    for folder in folders.values():
        folder.mkdir()
    plan_file = root / "plan.json"
    plan_file.write_text(json.dumps(plan))
    before, argv = torch.get_num_threads(), sys.argv[:]
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore"):  # few workers and no GPU are the point here
            measure(plan, [], folders[1])
    finally:
        torch.set_num_threads(before)
        sys.argv[:] = argv
    by_slurm("measure", plan_file, folders[2], 2)
    by_torchrun("measure", plan_file, folders[3], 3)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("job", JOBS)
def test_figures_do_not_depend_on_the_number_of_processes(measured, job, count):
    name = f"{job}-{count}"
    alone = json.loads((measured[1] / f"{name}-rank0.json").read_text())
    assert alone
    for processes in (2, 3):
        for rank in range(processes):
            figures = json.loads((measured[processes] / f"{name}-rank{rank}.json").read_text())
            assert figures == alone, (processes, rank)


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("job", JOBS)
def test_files_do_not_depend_on_the_number_of_processes(measured, job, count):
    """Tables of single predictions too."""
    folders = [measured[processes] / f"{job}-{count}" for processes in (1, 2, 3)]
    names = [{path.name for path in folder.glob("*.[cj]s*")} for folder in folders]
    assert names[0] == names[1] == names[2]
    assert len(names[0]) > 1
    for name in names[0] - {"run.json"}:
        first, *others = [(folder / name).read_bytes() for folder in folders]
        assert all(other == first for other in others), name


@pytest.fixture(scope="module")
def exchanged(experiments, by_count, tmp_path_factory):
    """What two processes sent one another while they trained, by job, of each process."""
    root = tmp_path_factory.mktemp("exchanged")
    plan = {
        job: ["-c", str(path), f"--data.init_args.root={by_count[21][job]}", QUIET]
        for job, path in experiments.items()
    }
    (root / "plan.json").write_text(json.dumps(plan))
    by_torchrun("train", root / "plan.json", root, 2)
    return {
        job: [json.loads((root / f"{job}-rank{rank}.json").read_text()) for rank in range(2)]
        for job in JOBS
    }


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_processes_exchange_what_trains_and_nothing_else(exchanged, job):
    for facts in exchanged[job]:
        assert facts["steps"] > 0
        assert sum(facts["gradients"]) == facts["trained"] * facts["steps"]
        assert facts["broadcast"] == facts["trained"]
        # The towers of the retriever train too, as published.
        assert (facts["trained"] < facts["all"]) is (job != "retrieval")
        assert facts["finds_unused"] is False
