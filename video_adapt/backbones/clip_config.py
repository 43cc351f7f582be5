"""Which towers a name stands for, and whether they are of the kind that we run block by block."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.errors import ConfigurationError

from .base import PixelSpec

# Colour statistics of OpenAI's training images, kept by nearly all CLIP models after them.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPConfig(NamedTuple):
    """The architecture of a pair of towers, in open_clip's words.

    Attributes:
        name: Name of the model, e.g. ``ViT-B-16-quickgelu``.
        towers: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and, where needed, ``quick_gelu``.
        pixels: Input size and normalisation.
    """

    name: str
    towers: dict[str, Any]
    pixels: PixelSpec

    @property
    def quick_gelu(self) -> bool:
        """Whether the blocks use OpenAI's approximation of GELU, ``x * sigmoid(1.702 x)``."""
        return bool(self.towers.get("quick_gelu", False))


def read_config(name: str) -> Mapping[str, Any]:
    """Find the description of a model.

    Args:
        name: A name known to open_clip, or the path of a JSON file in its format (with or without
            the outer level ``model_cfg`` / ``preprocess_cfg`` of published models).

    Raises:
        ConfigurationError: If there is no such model or file, or the file is no JSON.
    """
    import open_clip  # takes seconds, so only whoever builds a model pays

    if not name.endswith(".json"):
        config: dict[str, Any] | None = open_clip.get_model_config(name)
        if config is None:
            near = difflib.get_close_matches(name, open_clip.list_models(), n=1)
            hint = f"did you mean {near[0]}?" if near else "see open_clip.list_models()"
            raise ConfigurationError(f"open_clip knows no model {name!r}; {hint}")
        return config
    try:
        return dict(json.loads(Path(name).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read this model description: {error}") from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{name}: not a model description in JSON: {error}") from error


def parse_config(name: str, content: Mapping[str, Any], image_size: int | None) -> CLIPConfig:
    """Check a description and set its image size.

    Args:
        name: What to call the model.
        content: As :func:`read_config` returns it; not modified.
        image_size: Side of the square input in pixels; None keeps the model's own.

    Raises:
        ConfigurationError: If the towers are not a plain vision and text transformer, or the
            image size is no multiple of the patch size.
    """
    model = dict(content.get("model_cfg", content))
    if absent := {"embed_dim", "vision_cfg", "text_cfg"} - model.keys():
        raise ConfigurationError(f"{name}: model description lacks {', '.join(sorted(absent))}")
    vision = dict(model["vision_cfg"])
    if peculiar := next(_peculiarities(model), None):
        raise ConfigurationError(
            f"{name}: {peculiar}; only CLIP's own kind of vision and text transformer can be "
            "used here, such as ViT-B-16-quickgelu"
        )
    size = vision.get("image_size", 224) if image_size is None else image_size
    patch = vision.get("patch_size", 16)
    if not (isinstance(size, int) and isinstance(patch, int) and size >= patch > 0 == size % patch):
        raise ConfigurationError(
            f"{name}: image_size={size} is no square of whole {patch}-pixel patches; "
            f"choose a multiple of {patch}"
        )
    vision["image_size"] = size
    towers = {key: value for key, value in model.items() if key != "custom_text"}
    pixels = content.get("preprocess_cfg", {})
    mean, std = pixels.get("mean", OPENAI_MEAN), pixels.get("std", OPENAI_STD)
    return CLIPConfig(
        name, towers | {"vision_cfg": vision}, PixelSpec(size, tuple(mean), tuple(std))
    )


def _peculiarities(model: Mapping[str, Any]) -> Iterator[str]:
    vision, text = model["vision_cfg"], model["text_cfg"]
    if "multimodal_cfg" in model:
        yield "has a captioning decoder"
    if isinstance(vision.get("layers"), list | tuple):
        yield "its image tower is a ResNet"
    if vision.get("timm_model_name"):
        yield f"its image tower is timm's {vision['timm_model_name']}"
    if vision.get("attentional_pool") or vision.get("pool_type", "tok") != "tok":
        yield "its image tower does not read out the class token"
    if vision.get("patch_dropout"):
        yield "its image tower drops patches"
    custom = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn")
    if vision.get("block_type") or any(vision.get(key) for key in (*custom, "scale_fc")):
        yield "the blocks of its image tower are not CLIP's"
    if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
        yield "its text tower or tokenizer comes from Hugging Face transformers"
