from types import SimpleNamespace

import pytest

from video_adapt.apps import gpu_energy
from video_adapt.apps.gpu_energy import EnergyMeter

UUIDS = (b"GPU-a", b"GPU-b")


def driver(*counters_mj):
    """A library that knows two GPUs; a counter of None is one that the GPU does not have."""

    def count(found):
        found._obj.value = len(UUIDS)
        return 0

    def by_index(index, handle):
        handle._obj.value = index + 1
        return 0 if index < len(UUIDS) else 6

    def by_uuid(uuid, handle):
        return by_index(UUIDS.index(uuid), handle)

    def energy(handle, counted):
        counter = counters_mj[handle.value - 1]
        counted._obj.value = counter or 0
        return 3 if counter is None else 0

    return SimpleNamespace(
        nvmlDeviceGetCount_v2=count,
        nvmlDeviceGetHandleByIndex_v2=by_index,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


@pytest.mark.parametrize(
    ("visible", "joules"),
    [(None, 43.0), ("1", 40.0), ("GPU-a,1", 43.0), ("", None), ("0,7", None)],
)
def test_visible_gpus_are_added_up(monkeypatch, visible, joules):
    monkeypatch.setattr(gpu_energy, "_load", lambda: driver(3000, 40000))
    assert EnergyMeter(visible).read_j() == joules


def test_a_gpu_without_a_counter_makes_the_sum_unknown(monkeypatch):
    monkeypatch.setattr(gpu_energy, "_load", lambda: driver(3000, None))
    assert EnergyMeter(None).read_j() is None


def test_a_machine_without_the_library_knows_nothing(monkeypatch):
    monkeypatch.setattr(gpu_energy, "_LIBRARY", "libnothing.so.1")
    assert EnergyMeter(None).read_j() is None
