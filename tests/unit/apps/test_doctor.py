import argparse
import json
import subprocess
import sys

import pytest

from video_adapt.apps import (
    doctor,
    doctor_files,
    doctor_machine,
    doctor_packages,
    doctor_weights,
)
from video_adapt.apps.doctor_findings import Finding

OK = Finding("this", "ok", "is well")
WARN = Finding("that", "warn", "is missing", "get it")
FAIL = Finding("other", "fail", "is broken", "mend it")


@pytest.fixture
def findings(monkeypatch):
    """Whatever is found, in the place of an examination."""
    found = [OK, WARN]
    monkeypatch.setattr(doctor, "examine", lambda paths, configs, runs: iter(found))
    return found


def run(*words):
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args([str(word) for word in words]))


def test_a_line_for_each_with_its_mend(findings, capsys):
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok    this           is well",
        "warn  that           is missing -> get it",
        "1 ok, 1 warn, 0 fail",
    ]


def test_what_stops_a_run_makes_it_fail(findings, capsys):
    findings.append(FAIL)
    assert run() == 1
    assert "fail  other          is broken -> mend it\n" in capsys.readouterr().out


def test_findings_are_json_where_one_wants_it(findings, tmp_path, capsys):
    assert run("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == [OK._asdict(), WARN._asdict()]
    assert run("--json", tmp_path / "a/b.json") == 0
    assert json.loads((tmp_path / "a/b.json").read_text()) == printed
    assert "1 ok, 1 warn" in capsys.readouterr().out


@pytest.fixture
def quick(monkeypatch):
    """Rooms that answer with their names."""
    monkeypatch.setattr(doctor_packages, "examine_packages", lambda: iter([OK]))
    machine = Finding("machine", "ok", "")
    monkeypatch.setattr(doctor_machine, "examine_machine", lambda runs: iter([machine]))
    monkeypatch.setattr(doctor_weights, "examine_hub", lambda: Finding("hub", "ok", ""))
    for name, take in (("examine_experiment", str), ("examine_variables", str)):
        monkeypatch.setattr(
            doctor_files, name, lambda path, take=take: iter([Finding(take(path), "ok", "")])
        )


def subjects(*words):
    return [found.subject for found in doctor.examine(*words)]


def test_experiments_decide_what_is_looked_for(quick, tmp_path):
    alone = subjects([], [], tmp_path)
    assert alone == ["this", "machine", "W&B", "hub", "experiments"]
    (tmp_path / "x.bin").write_bytes(b"x")
    given = subjects([tmp_path / "x.bin"], ["a.yaml", "b.yaml"], tmp_path)
    assert given == ["this", "machine", "W&B", "a.yaml", "b.yaml", "path"]


def test_nothing_is_imported_that_is_not_there(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor_packages, "examine_packages", lambda: iter([FAIL, OK]))
    assert subjects([], [], tmp_path) == ["other", "this"]


@pytest.fixture
def account(monkeypatch, tmp_path):
    """W&B as on a machine of a stranger; the server answers where ``account`` says so."""
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://me:hunter2@wandb.example.org")
    answers = {"reachable": True}
    monkeypatch.setattr(
        "video_adapt.wandb_account.is_reachable", lambda server: answers["reachable"]
    )
    return answers


def test_nobody_must_log_in(account):
    found = doctor._examine_tracking()
    assert found.status == "ok"
    assert found.text == "offline; key for wandb.example.org: no"
    assert found.mend.startswith("`wandb login`")


def test_a_key_is_told_and_never_shown(account, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k3y" * 13)
    found = doctor._examine_tracking()
    assert found == Finding("W&B", "ok", "online; key for wandb.example.org: yes")
    account["reachable"] = False
    found = doctor._examine_tracking()
    assert (found.status, found.mend.count("wandb sync")) == ("warn", 1)
    assert not any("k3y" in text or "hunter2" in text for text in found)


def test_the_mode_of_the_environment_is_named(account, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    found = doctor._examine_tracking()
    assert found.status == "ok"
    assert found.text.startswith("disabled; ")
    assert found.text.endswith("WANDB_MODE decides")


def test_an_examination_needs_no_lightning():
    code = (
        "import sys; from pathlib import Path; from video_adapt.apps import doctor;"
        "list(doctor.examine([], [], Path('runs')));"
        "sys.exit(str({'lightning', 'open_clip', 'transformers'} & set(sys.modules) or ''))"
    )
    environment = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stderr.strip() == ""
