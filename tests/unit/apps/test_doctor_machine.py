import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from video_adapt.apps import doctor_machine, doctor_packages
from video_adapt.apps.doctor_findings import Finding
from video_adapt.apps.doctor_packages import Extra

GB = 10**9


def statuses(findings):
    return {found.subject: found.status for found in findings}


def test_this_machine_can_be_told(tmp_path):
    found = {finding.subject: finding for finding in doctor_machine.examine_machine(tmp_path)}
    assert {"codecs", "cores", "disk"} <= found.keys()
    assert "h264, hevc, vp9, av1" in found["codecs"].text
    assert found["codecs"].status == "ok"


@pytest.mark.parametrize(
    ("absent", "status", "said"),
    [
        ({"h264", "av1"}, "fail", "does not decode h264"),
        ({"hevc", "av1"}, "warn", "does not decode hevc, av1"),
        ({"libx264"}, "warn", "no encoder for `prepare` and `world`"),
        (set(), "ok", "decodes h264, hevc, vp9, av1; encodes h264"),
    ],
)
def test_codecs_that_are_missing_are_named(monkeypatch, absent, status, said):
    monkeypatch.setattr(doctor_machine, "_opens", lambda name, mode: name not in absent)
    found = doctor_machine._codecs()
    assert found.status == status
    assert said in found.text
    assert bool(found.mend) == (status != "ok")


def test_a_codec_opens_for_what_it_can():
    assert doctor_machine._opens("h264", "r")
    assert not doctor_machine._opens("no such codec", "r")
    assert not doctor_machine._opens("libdav1d", "w")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with one GPU; what it is like can be changed."""
    gpu = SimpleNamespace(driver="580.1", free=70, major=9, minor=0, visible=True)
    properties = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
    monkeypatch.setattr(doctor_machine, "_driver", lambda: gpu.driver)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu.visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda number: (gpu.free * GB, 80 * GB))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_90a", "compute_120"])

    def told(number):
        properties.major, properties.minor = gpu.major, gpu.minor
        return properties

    monkeypatch.setattr("torch.cuda.get_device_properties", told)
    return gpu


def test_a_gpu_is_told_with_its_memory_and_driver(gpu):
    (found,) = doctor_machine._gpus()
    text = "NVIDIA H100, 70.0 of 80.0 GB free, driver 580.1, CUDA 13.0"
    assert found == Finding("gpu 0", "ok", text)


def test_a_gpu_in_use_is_a_warning(gpu):
    gpu.free = 1
    (found,) = doctor_machine._gpus()
    assert found.status == "warn"
    assert "CUDA_VISIBLE_DEVICES" in found.mend


def test_a_gpu_too_old_for_torch_fails(gpu):
    gpu.major, gpu.minor = 7, 0
    (found,) = doctor_machine._gpus()
    assert found.status == "fail"
    assert "sm_70 is too old" in found.text


def test_no_gpu_is_said_and_no_fault(gpu):
    gpu.visible, gpu.driver = False, ""
    (found,) = doctor_machine._gpus()
    assert found.status == "ok"
    assert found.text.startswith("none: ")


def test_a_gpu_that_torch_cannot_use_fails(gpu, monkeypatch):
    gpu.visible = False
    (found,) = doctor_machine._gpus()
    assert found.status == "fail"
    assert "CUDA 13.0 does not run on driver 580.1" in found.text
    monkeypatch.setattr("torch.version.cuda", None)
    (found,) = doctor_machine._gpus()
    assert found.status == "fail"
    assert "is for CPUs" in found.text


def test_a_driver_is_asked_by_its_own_program(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 580.95.05\necho 580.95.05\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    assert doctor_machine._driver() == "580.95.05"
    program.write_text("#!/bin/sh\necho no device\nexit 9\n")
    assert doctor_machine._driver() == ""
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert doctor_machine._driver() == ""


def test_one_core_is_a_warning(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3}, raising=False)
    found = doctor_machine._cores()
    assert found.status == "warn"
    assert found.text.startswith("1 of ")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert doctor_machine._cores().status == "ok"


def test_memory_is_what_can_be_had(tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:  16000000 kB\nMemFree: 1 kB\nMemAvailable: 8000000 kB\n")
    assert doctor_machine._memory(table) == Finding("memory", "ok", "8.2 of 16.4 GB free")
    table.write_text("MemTotal:  16000000 kB\nMemFree: 1 kB\nMemAvailable: 2000000 kB\n")
    assert doctor_machine._memory(table).status == "warn"


def test_a_container_s_small_shared_memory_is_a_warning(monkeypatch, tmp_path):
    free = SimpleNamespace(free=64 * 10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    found = doctor_machine._shared_memory(tmp_path)
    assert (found.status, found.text) == ("warn", f"0.1 GB in {tmp_path}")
    assert "--shm-size" in found.mend
    free.free = 8 * GB
    assert doctor_machine._shared_memory(tmp_path).status == "ok"


def test_the_disk_is_that_of_the_runs(monkeypatch, tmp_path):
    asked = []
    free = SimpleNamespace(free=3 * GB)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: asked.append(folder) or free)
    found = doctor_machine._disk(tmp_path / "runs/not/yet")
    assert (found.status, asked) == ("warn", [tmp_path])
    free.free = 30 * GB
    assert doctor_machine._disk(tmp_path).status == "ok"
    monkeypatch.setattr("os.access", lambda folder, mode: False)
    assert doctor_machine._disk(tmp_path).status == "fail"


@pytest.fixture
def required(monkeypatch):
    """What the package says that it requires."""
    needs = ["numpy>=1", "peft>=99; extra == 'lora'"]
    monkeypatch.setattr(doctor_packages.metadata, "requires", lambda name: needs)
    return needs


def test_packages_are_told_with_their_versions(required):
    found = [*doctor_packages.examine_packages()]
    assert [finding.subject for finding in found[:2]] == ["python", "packages"]
    assert "torch 2." in found[1].text
    assert statuses(found)["packages"] == "ok"


def test_packages_that_are_wrong_are_named(required):
    required += ["numpy>=999", "no-such-package>=2"]
    found = [f for f in doctor_packages.examine_packages() if f.subject == "packages"]
    assert [finding.status for finding in found] == ["fail", "fail"]
    assert found[0].text.endswith("wanted >=999")
    assert found[0].mend == "pip install 'numpy>=999'"
    assert found[1].text == "no-such-package is not installed"


def test_extras_are_told_with_what_needs_them():
    found = doctor_packages._examine_extra("x", Extra(("numpy", "no_such_module"), "a thing"))
    mend = "pip install 'video-adapt[x]'"
    text = "without no_such_module, which serves a thing"
    assert found == Finding("extra x", "warn", text, mend)
    assert doctor_packages._examine_extra("x", Extra(("numpy",), "a thing")).status == "ok"


def test_every_extra_of_users_is_looked_at():
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert set(doctor_packages.EXTRAS) == set(extras) - {"dev", "bench"}
