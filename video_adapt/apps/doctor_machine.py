"""The machine: codecs, GPU, cores, memory, disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .doctor_findings import Finding

_GB = 1e9
_DECODERS = ("h264", "hevc", "vp9", "av1")
_LOW_DISK_GB = 5.0
_LOW_SHARED_GB = 1.0
_LOW_MEMORY_GB = 4.0
_LOW_GPU_GB = 2.0
# Of Linux; elsewhere nothing is said of them.
_MOUNTED_MEMORY = Path("/dev/shm")
_MEMORY = Path("/proc/meminfo")


def examine_machine(runs: Path) -> Iterator[Finding]:
    """Look at what this machine can do.

    Args:
        runs: Where runs will write; it need not exist.
    """
    yield _codecs()
    yield from _gpus()
    yield _cores()
    if _MEMORY.is_file():
        yield _memory(_MEMORY)
    if _MOUNTED_MEMORY.is_dir():
        yield _shared_memory(_MOUNTED_MEMORY)
    yield _disk(runs)


def _codecs() -> Finding:
    import av

    absent = [name for name in _DECODERS if not _opens(name, "r")]
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    mend = "pip install --force-reinstall --only-binary av av"
    if "h264" in absent:
        return Finding("codecs", "fail", f"libavcodec {version} does not decode h264", mend)
    if absent:
        text = f"libavcodec {version} does not decode {', '.join(absent)}"
        return Finding("codecs", "warn", text, mend)
    text = f"libavcodec {version} decodes {', '.join(_DECODERS)}"
    if _opens("libx264", "w"):
        return Finding("codecs", "ok", f"{text}; encodes h264")
    return Finding("codecs", "warn", f"{text}; no encoder for `prepare` and `world`", mend)


def _opens(name: str, mode: Any) -> bool:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        av.Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def _gpus() -> Iterator[Finding]:
    import torch

    driver = _driver()
    built_for = torch.version.cuda
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield _gpu(number, driver)
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "ok", "Apple's, by way of mps")
    elif not driver:
        yield Finding("gpu", "ok", "none: everything runs on the CPU; the demonstration needs none")
    elif built_for is None:
        text = f"there is one (driver {driver}), but this torch {torch.__version__} is for CPUs"
        yield Finding("gpu", "fail", text, "install torch for CUDA: https://pytorch.org")
    else:
        text = f"there is one, but torch for CUDA {built_for} does not run on driver {driver}"
        mend = f"a driver that knows CUDA {built_for}, or CUDA_VISIBLE_DEVICES if it hides the GPU"
        yield Finding("gpu", "fail", text, mend)


def _driver() -> str:
    """Version of NVIDIA's driver; empty without one."""
    if (program := shutil.which("nvidia-smi")) is None:
        return ""
    words = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return "that does not answer"
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


def _gpu(number: int, driver: str) -> Finding:
    import torch

    free, total = (amount / _GB for amount in torch.cuda.mem_get_info(number))
    properties = torch.cuda.get_device_properties(number)
    code = f"sm_{properties.major}{properties.minor}"
    text = (
        f"{properties.name}, {free:.1f} of {total:.1f} GB free, driver {driver or 'unknown'}, "
        f"CUDA {torch.version.cuda}"
    )
    subject = f"gpu {number}"
    oldest = min(int(arch.partition("_")[2].rstrip("af")) for arch in torch.cuda.get_arch_list())
    if 10 * properties.major + properties.minor < oldest:
        mend = "a torch built for this GPU: https://pytorch.org/get-started/previous-versions"
        return Finding(subject, "fail", f"{text}; {code} is too old for this torch", mend)
    if free < _LOW_GPU_GB:
        mend = "nvidia-smi names who uses it; choose another with CUDA_VISIBLE_DEVICES"
        return Finding(subject, "warn", text, mend)
    return Finding(subject, "ok", text)


def _cores() -> Finding:
    whole = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else whole
    text = f"{mine} of {whole} CPU cores for this process"
    if mine > 1:
        return Finding("cores", "ok", text)
    mend = "data.init_args.loader.num_workers=0, and ask the scheduler for more (--cpus-per-task)"
    return Finding("cores", "warn", text, mend)


def _memory(table: Path) -> Finding:
    told = dict(line.split(":") for line in table.read_text().splitlines())
    free, total = (1024 * int(told[name].split()[0]) / _GB for name in ("MemAvailable", "MemTotal"))
    text = f"{free:.1f} of {total:.1f} GB free"
    if free >= _LOW_MEMORY_GB:
        return Finding("memory", "ok", text)
    return Finding("memory", "warn", text, "fewer workers: data.init_args.loader.num_workers")


def _shared_memory(folder: Path) -> Finding:
    """What workers of a loader hand batches over in; containers often have 64 MB."""
    free = shutil.disk_usage(folder).free / _GB
    text = f"{free:.1f} GB in {folder}"
    if free >= _LOW_SHARED_GB:
        return Finding("shared memory", "ok", text)
    mend = "docker run --shm-size=8g (or --ipc=host), or data.init_args.loader.num_workers=0"
    return Finding("shared memory", "warn", text, mend)


def _disk(runs: Path) -> Finding:
    there = next(folder for folder in (runs, *runs.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free / _GB
    text = f"{free:.1f} GB free for {runs}"
    if not os.access(there, os.W_OK):
        return Finding("disk", "fail", f"{there} is not writable", "choose another --run_dir")
    if free >= _LOW_DISK_GB:
        return Finding("disk", "ok", text)
    return Finding("disk", "warn", text, "free some, or choose another --run_dir")
