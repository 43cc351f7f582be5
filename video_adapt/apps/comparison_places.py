"""What each of several runs at once has of the machine: a share of the cores, one GPU."""

import os
from collections import Counter
from typing import NamedTuple

import torch

_VISIBLE, _ORDER, _THREADS = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS"


class Place(NamedTuple):
    """Where one run at a time takes place.

    Attributes:
        at_once: How many such places there are.
        environment: Variables that its processes have beside those of this one.
        gpus: The GPUs they see, as ``CUDA_VISIBLE_DEVICES`` names them; None = all.
        shares_gpu: Whether another place has the same GPU.
    """

    at_once: int
    environment: dict[str, str]
    gpus: str | None
    shares_gpu: bool


def make_places(at_once: int) -> list[Place]:
    """Divide the machine; a single place has all of it, as if nothing were divided.

    Several have ``OMP_NUM_THREADS = cores // at_once`` each, unless the user has set it, and one
    GPU each, in turn, of those that the user shows.

    Args:
        at_once: Number of places, from 1.
    """
    visible = os.environ.get(_VISIBLE)
    if at_once == 1:
        return [Place(1, {}, visible, shares_gpu=False)]
    common = {_THREADS: str(max(1, torch.get_num_threads() // at_once))}
    gpus = _gpus(visible)
    if gpus and visible is None:
        # CUDA counts the fastest GPU first, the counters of energy by slot.
        common[_ORDER] = "PCI_BUS_ID"
    common = {name: value for name, value in common.items() if name not in os.environ}
    gpus = gpus or [""]
    given = [gpus[place % len(gpus)] for place in range(at_once)]
    users = Counter(given)
    return [
        Place(
            at_once,
            common | ({_VISIBLE: gpu} if gpu else {}),
            gpu,
            shares_gpu=bool(gpu) and users[gpu] > 1,
        )
        for gpu in given
    ]


def _gpus(visible: str | None) -> list[str]:
    """Names of the GPUs that torch finds: CUDA takes those before the first that is not there."""
    count = torch.cuda.device_count()
    names = map(str, range(count)) if visible is None else visible.split(",")
    return [name.strip() for name in names][:count]
