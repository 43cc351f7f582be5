from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

from tests.fakes import FakeBackbone, FakeMethod
from video_adapt.errors import ConfigurationError


def setup_under(strategy, tuning="frozen"):
    method = FakeMethod(FakeBackbone(), tuning=tuning)
    method._trainer = SimpleNamespace(strategy=strategy)
    method.setup("fit")


@pytest.mark.parametrize("strategy", [DDPStrategy(), SingleDeviceStrategy(torch.device("cpu"))])
def test_whole_weights_in_every_process_are_right(strategy):
    setup_under(strategy)


@pytest.mark.parametrize("tuning", ["frozen", "full"])
@pytest.mark.parametrize("strategy", [FSDPStrategy(), ModelParallelStrategy()])
def test_weights_that_are_taken_apart_are_refused(strategy, tuning):
    said = rf"trainer\.strategy {type(strategy).__name__} takes weights apart.*take fsdp.*or ddp"
    with pytest.raises(ConfigurationError, match=said):
        setup_under(strategy, tuning)
