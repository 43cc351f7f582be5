"""Captioned videos whose frames tell which video and which frame they are, and their lists."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .conftest import write_video

# Video v lasts v + 1 seconds at ten frames a second, and has so many captions.
CAPTIONS = {
    "video0": ["a dog", "a dog runs", "dogs"],
    "video1": ["a cat sleeps"],
    "video2": ["two birds fly away", "birds"],
    "video3": ["a red ball", "the ball is red"],
}
TRAINED = ("video0", "video1", "video2")


def write_captioned(root: Path) -> Path:
    """``videos/<name>.mp4``, ``captions.json`` and ``train.csv`` below a folder."""
    for number, name in enumerate(CAPTIONS):
        write_video(root / f"videos/{name}.mp4", number, frames=min(10 * (number + 1), 25))
    write_lists(root)
    return root


def write_lists(root: Path) -> None:
    """The lists alone, in the layout of MSR-VTT."""
    videos = [
        {"video_id": name, "split": "train" if name in TRAINED else "validate"} for name in CAPTIONS
    ]
    told = [(name, text) for name, texts in CAPTIONS.items() for text in texts]
    sentences = [{"caption": text, "video_id": name} for name, text in reversed(told)]
    content = {"videos": videos, "sentences": sentences[::-1]}
    (root / "captions.json").write_text(json.dumps(content, indent=1))
    (root / "train.csv").write_text("video_id\n" + "".join(f"{name}\n" for name in TRAINED))
    (root / "test.csv").write_text("key,video_id,sentence\nret0,video3,a red ball\n")


class Words:
    """A tokenizer that numbers words as they come."""

    name = "words"

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.calls = 0

    def tokenize(self, captions: Sequence[str], *, length: int | None = None) -> Tensor:
        self.calls += 1
        assert length is not None
        tokens = torch.zeros(len(captions), length, dtype=torch.int64)
        for row, text in zip(tokens, captions, strict=True):
            ids = [self.known.setdefault(word, len(self.known) + 1) for word in text.split()]
            ids = [*ids[: length - 1], 999]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def read(self, tokens: Tensor) -> list[str]:
        names = {number: word for word, number in self.known.items()}
        return [" ".join(names[i] for i in row.tolist() if 0 < i < 999) for row in tokens]
