"""The command line as a person meets it: help, unknown commands, one-line errors."""

import subprocess
import sys

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import InterpolationKeyError

from video_adapt import __main__ as cli
from video_adapt.errors import VideoDecodeError


def test_help_names_every_command(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for command in [*cli.TRAINER_COMMANDS, *(app.replace("_", "-") for app in cli.APPS)]:
        assert f"  {command} " in text


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from video_adapt.__main__ import main; main(['--help']);"
        "heavy = {'torch', 'lightning', 'av', 'matplotlib', 'wandb'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("app", cli.APPS)
def test_every_app_explains_itself(app, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([app.replace("_", "-"), "--help"])
    assert stop.value.code == 0
    assert f"video-adapt {app.replace('_', '-')}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys):
    assert cli.main(["fitt"]) == 2
    assert "unknown command 'fitt'" in capsys.readouterr().err


class Broken:
    HELP = "breaks"

    @staticmethod
    def add_arguments(parser):
        pass

    @staticmethod
    def run(args):
        raise Broken.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (VideoDecodeError("a.mp4: no picture; remove it"), "a.mp4: no picture; remove it"),
        (
            VideoDecodeError(
                "Caught VideoDecodeError in DataLoader worker process 0.\nOriginal Traceback (most "
                "recent call last):\n  x\nvideo_adapt.errors.VideoDecodeError: a.mp4: no picture\n"
            ),
            "a.mp4: no picture",
        ),
        (OSError(28, "No space left on device", "runs/x"), "runs/x: no space left on the disk"),
        (PermissionError(13, "Permission denied", "runs/x"), "runs/x: not writable"),
        (FileNotFoundError(2, "No such file", "a/b.png"), "a/b.png: No such file; check the path"),
        (
            MisconfigurationException("No supported gpu backend found!"),
            "trainer.accelerator asks for a GPU and torch finds none on this machine; take",
        ),
        (MisconfigurationException("two\nlines"), "two lines"),
        (
            ModuleNotFoundError("Requirement 'torch_xla>=1.13' not met. HINT: ..."),
            "a setting such as trainer.accelerator needs torch_xla>=1.13, which is not installed;",
        ),
        (
            InterpolationKeyError("Interpolation key 'x' not found\n    full_key: fit.data.root"),
            "data.root: Interpolation key 'x' not found; mend",
        ),
    ],
)
def test_errors_of_the_user_are_one_line(monkeypatch, capsys, error, message):
    Broken.error = error
    monkeypatch.setattr(cli.importlib, "import_module", lambda *names: Broken)
    assert cli.main(["recognise"]) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"video-adapt: error: {message}")
    assert len(text.splitlines()) == 1
    with pytest.raises(type(error)):
        cli.main(["recognise", "--debug"])


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError(5, "of no file")])
def test_errors_of_ours_keep_their_traceback(monkeypatch, error):
    Broken.error = error
    monkeypatch.setattr(cli.importlib, "import_module", lambda *names: Broken)
    with pytest.raises(type(error)):
        cli.main(["recognise"])


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    Broken.error = KeyboardInterrupt()
    monkeypatch.setattr(cli.importlib, "import_module", lambda *names: Broken)
    assert cli.main(["recognise"]) == 130
    assert "interrupted" in capsys.readouterr().err
