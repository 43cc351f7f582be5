import pytest
import torch

from video_adapt.apps.comparison_places import make_places


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has: cores and GPUs that torch finds, and what the user says."""

    def machine(cores, gpus, **said):
        monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in said.items():
            monkeypatch.setenv(name, value)

    return machine


@pytest.mark.parametrize(
    ("cores", "at_once", "threads"), [(8, 2, "4"), (8, 3, "2"), (2, 2, "1"), (2, 3, "1")]
)
def test_cores_are_divided(machine, cores, at_once, threads):
    machine(cores, 0)
    places = make_places(at_once)
    assert [place.at_once for place in places] == [at_once] * at_once
    for place in places:
        assert place.environment == {"OMP_NUM_THREADS": threads}
        assert (place.gpus, place.shares_gpu) == ("", False)


def test_what_the_user_says_stays(machine):
    machine(8, 2, OMP_NUM_THREADS="3", CUDA_DEVICE_ORDER="FASTEST_FIRST")
    for place in make_places(2):
        assert set(place.environment) == {"CUDA_VISIBLE_DEVICES"}


def test_gpus_are_given_in_turn(machine):
    machine(8, 2)
    places = make_places(3)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == ["0", "1", "0"]
    assert [place.gpus for place in places] == ["0", "1", "0"]
    assert [place.shares_gpu for place in places] == [True, False, True]
    assert all(place.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID" for place in places)


@pytest.mark.parametrize(
    ("visible", "found", "given"),
    [("3, GPU-b,MIG-c", 3, ["3", "GPU-b"]), ("5,-1,6", 1, ["5", "5"]), ("", 0, ["", ""])],
)
def test_only_gpus_that_the_user_shows_are_given(machine, visible, found, given):
    machine(8, found, CUDA_VISIBLE_DEVICES=visible)
    places = make_places(2)
    assert [place.gpus for place in places] == given
    assert all("CUDA_DEVICE_ORDER" not in place.environment for place in places)


def test_a_run_alone_has_what_this_process_has(machine):
    machine(8, 2)
    assert make_places(1) == [(1, {}, None, False)]
    machine(8, 2, CUDA_VISIBLE_DEVICES="1,0")
    assert make_places(1) == [(1, {}, "1,0", False)]
