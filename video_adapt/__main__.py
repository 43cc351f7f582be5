"""The command ``video-adapt``: find the command, run it, say what went wrong in one line."""

import argparse
import errno
import importlib
import re
import sys
from collections.abc import Sequence

from . import __version__
from .cli_messages import explain_interpolation
from .errors import VideoAdaptError

TRAINER_COMMANDS = {
    "fit": "train the method of an experiment file",
    "validate": "measure a method on its validation videos",
    "test": "measure a method on its test videos, all views",
    "predict": "write the predictions of a method",
}
APPS = (
    *("recognise", "detect", "search", "features", "report", "compare", "prepare"),
    *("data_check", "split_classes", "ratios", "sweep", "plan", "convert", "world", "bench"),
    *("doctor", "reproduce"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None means those of the process.

    Returns:
        The exit code: 0 done, 1 a problem that the message names, 2 wrong usage, 75 training was
        stopped by a signal and is ready to go on, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)
    except Exception as error:
        message = _user_message(error, words)
        if debug or message is None:
            raise
        return _fail(message)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"video-adapt {__version__}\n")
        return 0
    command = words[0].replace("-", "_")
    if command in TRAINER_COMMANDS:
        # Lightning takes seconds to import; only its own commands pay for it.
        from .cli import run_trainer

        return run_trainer(words)
    if command in APPS:
        app = importlib.import_module(f".apps.{command}", __package__)
        parser = argparse.ArgumentParser(f"video-adapt {words[0]}", description=app.HELP)
        app.add_arguments(parser)
        code: int = app.run(parser.parse_args(words[1:]))
        return code
    sys.stderr.write(f"video-adapt: unknown command {words[0]!r}\n\n{_help()}")
    return 2


def _help() -> str:
    lines = ["usage: video-adapt COMMAND ...  (video-adapt COMMAND --help tells more)", ""]
    commands = dict(TRAINER_COMMANDS)
    for name in APPS:
        app = importlib.import_module(f".apps.{name}", __package__)
        commands[name.replace("_", "-")] = app.HELP
    lines += [f"  {name:<12} {text}" for name, text in commands.items()]
    lines += [
        "",
        "  --version    print the version",
        "  --debug      show the traceback of an error",
    ]
    return "\n".join(lines) + "\n"


def _user_message(error: BaseException, words: Sequence[str]) -> str | None:
    """One line for an error that the user can mend; None for one that we must."""
    error = _cause(error)
    text = str(error).strip()
    if isinstance(error, VideoAdaptError):
        # A loader worker sends its whole traceback along; the message proper comes last.
        return text.rpartition(f"{type(error).__name__}: ")[2]
    if isinstance(error, OSError) and (found := _file_message(error)):
        return found
    names = {cls.__name__ for cls in type(error).__mro__}
    if "OmegaConfBaseException" in names:
        return explain_interpolation(text, words)
    if "MisconfigurationException" in names:
        return _settings_message(" ".join(text.split()))
    if "ModuleNotFoundError" in names and (wanted := re.search(r"Requirement '(.+?)' not", text)):
        return (
            f"a setting such as trainer.accelerator needs {wanted[1]}, which is not installed; "
            "install it or change the setting"
        )
    if "OutOfMemoryError" in names:
        return (
            f"out of GPU memory: {text.splitlines()[0]} Lower data.loader.batch_size and raise "
            "trainer.accumulate_grad_batches by the same factor"
        )
    return None


def _file_message(error: OSError) -> str | None:
    """What to do about a file that cannot be read or written; None where no file is to blame."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "the output folder"
        return f"{where}: no space left on the disk; free some or choose another folder"
    if error.filename is None:
        return None
    if error.errno in (errno.EACCES, errno.EROFS):
        return f"{error.filename}: not writable; choose another output folder"
    return f"{error.filename}: {error.strerror}; check the path"


def _settings_message(text: str) -> str:
    """What Lightning says of two settings that do not go together, with a mend where it has none.

    It knows that the device is missing, not what to write instead.
    """
    if "accelerator is not available" in text or "No supported gpu backend" in text:
        return (
            "trainer.accelerator asks for a GPU and torch finds none on this machine; take "
            "--trainer.accelerator=auto, which uses a GPU where there is one"
        )
    return text


def _cause(error: BaseException) -> BaseException:
    """The user's error behind one that a library made of it, or the error itself."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, VideoAdaptError):
        behind = behind.__cause__ or behind.__context__
    return behind or error


def _fail(message: str, code: int = 1) -> int:
    sys.stderr.write(f"video-adapt: error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
