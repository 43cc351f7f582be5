"""The errors a user can cause, each with one sentence that names the place, the cause and the mend.

The command line prints the message alone and exits with code 1; ``--debug`` shows the traceback.
"""


class VideoAdaptError(Exception):
    """Base of every error whose message is meant for the user."""


class VideoDecodeError(VideoAdaptError):
    """A video file is missing, unreadable, has no picture or ends before the wanted frame."""


class AnnotationError(VideoAdaptError):
    """A list, label or class file says something that cannot be true; the message has file:line."""


class WeightsError(VideoAdaptError):
    """Weights are missing, do not fit the model, or belong to another method or backbone."""


class ConfigurationError(VideoAdaptError):
    """Two settings contradict each other or the machine (devices, frames, disk space)."""
