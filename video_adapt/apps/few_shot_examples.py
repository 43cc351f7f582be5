"""Examples of classes: a folder of videos for each, and the features that are kept of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.fabric.utilities import move_data_to_device

from data_modules import ClipLoader, KineticsDataModule, LoaderOptions, read_manifest
from data_modules.annotations import VideoEntry, hold_out
from data_modules.dataset import ClipDataset
from data_modules.loader import BrokenLog
from data_modules.stored import InOrder, StoredDataset, fill
from video_adapt.batches import ClipBatch, DecodedClips, StoredClips
from video_adapt.errors import AnnotationError
from video_adapt.row_store import RowStore

from .recogniser import build_part
from .recogniser_model import RecogniserModel

_HELD_OUT_AT_LEAST = 10
"""Fewer examples than this say too little of how often the model is right."""
_AT_ONCE, _WORKERS, _WORTH_WORKERS = 4, 2, 16
"""Videos that pass the model together; processes that decode, and from how many videos on."""


class Examples(NamedTuple):
    """Videos of a few classes.

    Attributes:
        folder: Where they lie, a folder per class.
        names: Names of the classes, ``_`` in a folder's name read as a space.
        entries: The videos.
        fitted: Those that are left when some are held out.
        held_out: Every fifth of each class, or none where that is too few.
    """

    folder: Path
    names: tuple[str, ...]
    entries: Sequence[VideoEntry]
    fitted: Sequence[VideoEntry]
    held_out: Sequence[VideoEntry]


def read_examples(folder: Path) -> Examples:
    """Look what examples there are.

    Raises:
        AnnotationError: If a class has none, or there are not two classes.
    """
    found = read_manifest(folder, root=folder, split="train")
    names = found.classes.names
    given = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    seen = {entry.label for entry in found.entries}
    if empty := [name for name in given if name not in names]:
        raise AnnotationError(f"{folder / empty[0]}: holds no video; add examples or remove it")
    if len(seen) < 2:
        raise AnnotationError(f"{folder}: one class, {names[0]!r}; give two or more to tell apart")
    fitted, held = hold_out(found)
    enough = len(held) >= _HELD_OUT_AT_LEAST and {e.label for e in held.entries} == seen
    return Examples(
        folder,
        tuple(name.replace("_", " ") for name in names),
        found.entries,
        fitted.entries if enough else found.entries,
        held.entries if enough else (),
    )


def read_features(model: RecogniserModel, examples: Examples, cache: str | Path) -> StoredClips:
    """Features of all views of all examples, as in recognition: from the cache, or to it.

    Args:
        model: A method that reads nothing but features of its frozen backbone.
        examples: The videos.
        cache: Folder of features.

    Returns:
        On the device of the method; views of a video follow one another.

    Raises:
        VideoDecodeError: If a video cannot be read.
        WeightsError: If a stored row is damaged.
    """
    recipe, method = model.recipe, model.method
    pixels = method.backbone.pixels
    sampler = build_part(recipe["sampler"], examples.folder)
    transform = {**recipe["transform"]}
    transform["size"] = transform["size"] or pixels.image_size
    data = KineticsDataModule(
        examples.folder,
        sampler=sampler,
        eval_transform=build_part(transform, examples.folder),
        loader=LoaderOptions(short_side=recipe["short_side"]),
        eval_views=recipe["eval_views"],
    )
    views = data.eval_views * data.eval_transform.crops
    facts = {
        **method.stored_facts(),
        "sampler": recipe["sampler"],
        "transform": transform,
        "short_side": recipe["short_side"],
        "views": data.eval_views,
    }
    store = RowStore(cache, facts=facts, owner="backbone")
    keys = [(row, row) for row in range(len(examples.entries))]
    stored = StoredDataset(examples.entries, store, keys, views=views)

    def prepare(decoded: DecodedClips) -> ClipBatch:
        moved = move_data_to_device(decoded, method.device)
        return data.transform(moved, pixels, training=False)

    if missing := stored.missing(keys):
        clips = ClipDataset(examples.entries, sampler, data.eval_views, recipe["short_side"])
        workers = _WORKERS if len(missing) >= _WORTH_WORKERS else 0
        loader = ClipLoader(
            clips,
            InOrder(missing),
            options=LoaderOptions(num_workers=workers),
            batch_size=_AT_ONCE,
            broken=BrokenLog("error", len(keys), 0.0),
        )
        fill(stored, loader, module=method, prepare=prepare)
        loader.close()
    batch = stored.collate(keys).unpack()
    moved: StoredClips = move_data_to_device(batch, method.device)
    return moved
