import numpy as np
import pytest
import torch

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.callbacks import Cost, PeakMemory
from video_adapt.callbacks.gpu_memory import peak_rss, reset_peak_rss

MIB = 2**20


def test_peak_of_the_process_counts_what_was_freed():
    before = reset_peak_rss()
    np.ones(64 * MIB, dtype=np.uint8)
    assert peak_rss() - before > 48 * MIB


class Greedy(ToyRecogniser):
    def test_step(self, batch, batch_idx):
        torch.ones(96 * MIB, dtype=torch.uint8)
        return super().test_step(batch, batch_idx)


def test_stages_are_measured_apart(tmp_path):
    memory = PeakMemory()
    trainer = quick_trainer(tmp_path, memory)
    data = ToyData([0, 1, 2, 0], [0, 1])
    trainer.fit(ToyRecogniser(), data)
    trainer.test(Greedy(), data, verbose=False)
    assert set(memory.peaks) == {
        f"memory/{stage}_{what}"
        for stage in ("train", "val", "test")
        for what in ("process", "growth")
    }
    assert memory.peaks["memory/test_growth"] > 72
    assert memory.peaks["memory/val_growth"] < 72
    assert memory.peaks["memory/train_process"] > 50


@pytest.mark.gpu
def test_tensors_of_the_gpu_are_counted(tmp_path):
    class GreedyOnGPU(ToyRecogniser):
        def test_step(self, batch, batch_idx):
            torch.ones(96 * MIB, dtype=torch.uint8, device=self.device)
            return super().test_step(batch, batch_idx)

    memory, cost = PeakMemory(), Cost()
    trainer = quick_trainer(tmp_path, memory, cost, accelerator="gpu", devices=1)
    data = ToyData([0, 1, 2, 0], [0, 1])
    trainer.fit(ToyRecogniser(), data)
    assert trainer.callback_metrics["cost/step_ms"] > 0
    assert memory.peaks["memory/train_allocated"] < 96
    trainer.test(GreedyOnGPU(), data, verbose=False)
    assert 96 <= memory.peaks["memory/test_allocated"] <= memory.peaks["memory/test_reserved"]
