"""From published files of OpenTAD to :class:`AdaTAD`: backbone, adapters and detector in one file.

The files hold the backbone below ``backbone.``, and the detector below ``projection.``, ``neck.``,
``rpn_head.`` and ``roi_head.``. Files of detectors on extracted features have no backbone.
"""

from collections.abc import Mapping

from torch import Tensor

from video_adapt.adapters import tia_keys
from video_adapt.backbones import VIDEOMAE_KEYS, VideoMAE
from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys, load_strictly
from video_adapt.detection import GTAD, ActionFormer, Detector, TriDet
from video_adapt.detection.gtad_published import PUBLISHED_NAMES
from video_adapt.detection.published import ACTIONFORMER_RULES, TRIDET_RULES
from video_adapt.errors import WeightsError
from video_adapt.tasks import DetectionTask

from .method import AdaTAD

_BACKBONE = "backbone."
_RULES: dict[type[Detector], list[KeyRule]] = {
    ActionFormer: [KeyRule(*rule) for rule in ACTIONFORMER_RULES],
    TriDet: [KeyRule(*rule) for rule in TRIDET_RULES],
    GTAD: [KeyRule(*rule) for rule in PUBLISHED_NAMES],
}


def towers_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The video model of a published file under its published names, without the adapters.

    Args:
        state: Tensors by published name; empty for a detector on extracted features.
    """
    return {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(_BACKBONE) and ".adapter." not in name and ".adapters." not in name
    }


def rename(method: DetectionTask, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file under the names of a method of the same architecture.

    Args:
        method: Tells which detector it is and, of AdaTAD, which blocks carry adapters.
        state: Tensors by published name, without a leading ``module.``.

    Raises:
        WeightsError: If nothing is known of published files of this detector.
    """
    rules = _RULES.get(type(method.detector))
    if rules is None:
        raise WeightsError(
            f"published files of {type(method.detector).__name__} are not known; known are those "
            f"of {', '.join(cls.__name__ for cls in _RULES)}"
        )
    adapters = method.backbone.adapters if isinstance(method, AdaTAD) else ()
    blocks = sorted(int(block) for block in adapters)
    inside = convert_keys(
        {name: t for name, t in state.items() if name.startswith(_BACKBONE)},
        [*tia_keys(blocks), *VIDEOMAE_KEYS],
    )
    head = {name: t for name, t in state.items() if not name.startswith(_BACKBONE)}
    named = {f"backbone.{name}": tensor for name, tensor in inside.items()}
    return named | {f"head.{name}": tensor for name, tensor in convert_keys(head, rules).items()}


def load_published(method: DetectionTask, state: Mapping[str, Tensor]) -> LoadReport:
    """Put a published file into a method of the same architecture, the frozen backbone included.

    Args:
        method: Receives the weights: AdaTAD, or a detector on extracted features.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If a tensor is missing, left over or of another shape, or the positions of
            the backbone are not the fixed ones.
    """
    named = rename(method, state)
    towers = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in named.items()
        if name.startswith(_BACKBONE) and not name.startswith("backbone.adapters.")
    }
    reports = []
    if towers:
        if not (isinstance(method, AdaTAD) and isinstance(method.backbone, VideoMAE)):
            raise WeightsError(
                f"the file holds a VideoMAE, {type(method).__name__} has none; set model: AdaTAD "
                "and backbone: VideoMAE"
            )
        reports.append(method.backbone.load_weights(towers))
    allow_new = [r"backbone\.(?!adapters\.).*"] if towers else []
    rest = {
        name: tensor for name, tensor in named.items() if name.removeprefix(_BACKBONE) not in towers
    }
    reports.append(load_strictly(method, rest, allow_new=allow_new))
    return LoadReport(
        loaded=tuple(name for report in reports for name in report.loaded),
        converted=tuple(name for report in reports for name in report.converted),
        unused=tuple(name for report in reports for name in report.unused),
    )
