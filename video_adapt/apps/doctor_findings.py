"""What an examination finds: one line each."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        subject: What.
        status: ``ok``; ``warn`` for what some will miss; ``fail`` for what stops a run.
        text: What was found.
        mend: What to do about it; empty where there is nothing to do.
    """

    subject: str
    status: Literal["ok", "warn", "fail"]
    text: str
    mend: str = ""
