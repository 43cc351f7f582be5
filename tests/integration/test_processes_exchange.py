"""Processes that train together exchange what trains and nothing else."""

from unittest import mock

import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from tests.contracts import helpers, test_detectors, test_open_vocabulary, test_retrievers
from tests.contracts.test_baselines import BUILDERS as BASELINES
from tests.contracts.test_methods import BUILDERS as METHODS
from tests.unit.methods.captioned_clips import captioning_clip, captions


def recogniser(build):
    method = build(helpers.tiny_clip())
    return method, lambda: helpers.loss(method, helpers.batch(2))


def detector(build):
    method = build()
    return method, lambda: test_detectors.loss(method, test_detectors.windows(method))


def retriever(build):
    method = build(captioning_clip())
    return method, lambda: method.losses(captions([0, 1, 2]))["loss"]


def open_recogniser(build):
    method = build(test_open_vocabulary.tiny_clip())
    return method, lambda: method.losses(test_open_vocabulary.batch(), 0)["loss"]


TRAINED = {name: build for name, build in (METHODS | BASELINES).items() if name != "zero_shot"}
CASES = [
    pytest.param(begin, build, id=f"{begin.__name__}-{name}")
    for begin, builders in (
        (recogniser, TRAINED),
        (detector, test_detectors.BUILDERS),
        (retriever, test_retrievers.BUILDERS),
        (open_recogniser, test_open_vocabulary.BUILDERS),
    )
    for name, build in builders.items()
]


@pytest.fixture
def alone():
    """A group of one process: data-parallel training has all its duties but company."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def parallel_step(method, loss):
    """Wrap it as strategy ``ddp`` does, which has no eye for unused parameters.

    Like Lightning's, the training step goes through the wrapper's forward.
    """
    parallel, own = DistributedDataParallel(method), method.forward

    def redirected():
        method.forward = own
        value = loss()
        method.forward = redirected
        return value

    method.forward = redirected
    return parallel


def size(tensors):
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
@pytest.mark.parametrize(("begin", "build"), CASES)
def test_gradients_of_what_trains_are_exchanged_and_nothing_else(alone, begin, build):
    torch.manual_seed(0)
    method, loss = begin(build)
    method.train()
    trained = [p for p in method.parameters() if p.requires_grad]
    broadcast = mock.Mock(side_effect=distributed._broadcast_coalesced)
    with mock.patch.object(distributed, "_broadcast_coalesced", broadcast):
        parallel = parallel_step(method, loss)
        sent = []

        def count(_, bucket):
            sent.append(bucket.buffer().nbytes)
            return allreduce_hook(None, bucket)

        parallel.register_comm_hook(None, count)
        # A parameter without a gradient in one step is found out at the beginning of the next.
        for _ in range(2):
            parallel().backward()
    assert sum(sent) == 2 * size(trained)
    assert sum(size(call.args[1]) for call in broadcast.call_args_list) == size(trained)
    # A broadcast at every forward would hang where validation shares are uneven.
    assert not parallel.will_sync_module_buffers()


def test_an_unused_parameter_would_be_found_out(alone):
    method, loss = recogniser(TRAINED["dist"])
    method.train()
    method.forgotten = nn.Parameter(torch.zeros(3))
    parallel = parallel_step(method, loss)
    parallel().backward()
    with pytest.raises(RuntimeError, match="not used in producing loss"):
        parallel()
