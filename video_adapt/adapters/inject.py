"""Putting adapters into a backbone, whichever backbone and whichever adapter."""

from abc import ABC, abstractmethod

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter
from video_adapt.errors import ConfigurationError


class Adapter(ABC):
    """The recipe of an adapter: makes the module of every block it wants to edit.

    A recipe holds plain values only, so that an experiment file can name it and one recipe fits
    backbones of any width and depth.
    """

    @abstractmethod
    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the module of one block.

        Args:
            block: Number of the block, from 0.
            backbone: What is adapted; read for its width and depth.
            reads_patches: Whether anything reads the patch tokens behind the last block.

        Returns:
            The module, an identity at the start; None where this block stays plain.
        """


def require_image_backbone(adapter: Adapter, backbone: Backbone) -> None:
    """Refuse a backbone whose blocks see several frames at once.

    Raises:
        ConfigurationError: If the backbone is a model of video.
    """
    if backbone.tubelet != 1 or backbone.class_tokens != 1:
        raise ConfigurationError(
            f"{type(adapter).__name__}: {backbone.name} is a model of video, whose time steps see "
            "one another already; use an image backbone such as CLIP"
        )


def inject(backbone: Backbone, adapter: Adapter, *, reads_patches: bool = False) -> None:
    """Put an adapter's modules into a backbone, under ``backbone.adapters``, in place.

    An edit that nothing reads is left out: its gradient is zero for ever, while it costs time and
    memory and counts as trained.

    Args:
        backbone: What is adapted; its own weights are not touched.
        adapter: What is put in.
        reads_patches: Whether anything reads the patch tokens behind the last block; False for a
            read-out from class tokens. Of a backbone without class tokens patches are always read.

    Raises:
        ConfigurationError: If the backbone is adapted already, or the adapter edits no block.
    """
    if len(backbone.adapters):
        blocks = ", ".join(backbone.adapters)
        raise ConfigurationError(
            f"{backbone.name}: blocks {blocks} carry an adapter already; build a fresh backbone"
        )
    reads_patches = reads_patches or not backbone.class_tokens
    for block in range(backbone.depth):
        edit = adapter.build(block, backbone, reads_patches=reads_patches)
        if edit is not None:
            backbone.adapters[str(block)] = edit
    if not len(backbone.adapters):
        raise ConfigurationError(
            f"{type(adapter).__name__} edits no block of {backbone.name}; "
            "enable a site or adapt more blocks"
        )
