"""What an experiment file says, read as training reads it, with nothing built."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from video_adapt.cli import VideoAdaptCLI


class ParsedCLI(VideoAdaptCLI):
    """The command line of training, stopped behind its parser."""

    def before_instantiate_classes(self) -> None:
        """Nothing is trained."""

    def instantiate_classes(self) -> None:
        """Nothing is built."""

    def _run_subcommand(self, subcommand: str) -> None:
        return


def read_experiment(path: str | Path, *words: str) -> Namespace:
    """Everything that an experiment file says, includes and defaults filled in.

    Args:
        path: The file.
        *words: What else stands on the command line, such as ``--data.init_args.root=videos``.
    """
    before = sys.argv[1:]
    # Where Lightning looks; a seed would be announced.
    sys.argv[1:] = ["fit", "--config", str(path), "--seed_everything=false", *words]
    try:
        config: Namespace = ParsedCLI("fit").config.fit
    finally:
        sys.argv[1:] = before
    return config
