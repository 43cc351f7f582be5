"""Names of the students' extra weights in the files of FROSTER and Open-VCLIP."""

from torch import Tensor

from video_adapt.checkpoints import KeyRule


def _last_axes_dropped(kernel: Tensor) -> Tensor:
    return kernel.flatten(1)  # a 1x1 convolution is a matrix


def _third_axis_added(kernel: Tensor) -> Tensor:
    return kernel.unsqueeze(-1)  # [A, 1, 3, 1] to [A, 1, 3, 1, 1]


# What follows ``resblocks.N.`` there, and ``adapters.N.`` here.
_PARTS = (
    KeyRule(r"stadapt_down_1\.weight", "attention.fc1.weight", _last_axes_dropped),
    KeyRule(r"stadapt_down_1\.bias", "attention.fc1.bias"),
    KeyRule(r"stadapt_conv3d_1\.weight", "attention.conv.weight", _third_axis_added),
    KeyRule(r"stadapt_conv3d_1\.bias", "attention.conv.bias"),
    KeyRule(r"stadapt_up_1\.weight", "attention.fc2.weight", _last_axes_dropped),
    KeyRule(r"stadapt_up_1\.bias", "attention.fc2.bias"),
    KeyRule(r"t_adapter\.adapter\.0\.(.+)", r"time.down.\2"),
    KeyRule(r"t_adapter\.adapter\.2\.(.+)", r"time.up.\2"),
    KeyRule(r"s_adapter\.adapter\.0\.(.+)", r"space.down.\2"),
    KeyRule(r"s_adapter\.adapter\.2\.(.+)", r"space.up.\2"),
    KeyRule(r"ffn_adapter\.adapter\.0\.(.+)", r"mlp.down.\2"),
    KeyRule(r"ffn_adapter\.adapter\.2\.(.+)", r"mlp.up.\2"),
    KeyRule(r"message_fc\.(.+)", r"fc.\2"),
    KeyRule(r"message_ln\.(.+)", r"norm.\2"),
    KeyRule(r"message_attn\.(.+)", r"attention.\2"),
)


def student_keys(*, prefix: str = "") -> tuple[KeyRule, ...]:
    """Key map from the students' extra weights to those of an adapted backbone.

    Covers ``stadapt_zeroinit`` (``STAdapter(before_attention=True, before_mlp=False)``), ``aim``
    (``AIM``), ``adapter`` (``FFNAdapter``) and ``cross_frame_attend`` (``CrossFrameMessage``); the
    attention patches have no weights.

    Args:
        prefix: What our names begin with, e.g. ``backbone.``.
    """
    block = r"(?:.+\.)?transformer\.resblocks\.(\d+)\."
    return tuple(
        KeyRule(f"{block}{rule.pattern}", rf"{prefix}adapters.\1.{rule.replacement}", rule.convert)
        for rule in _PARTS
    )
