"""AdaTAD: a frozen video model, adapters that let its chunks see one another, a detector.

Source: Liu et al., End-to-End Temporal Action Detection with 1B Parameters Across 1000 Frames,
CVPR 2024.
"""

from collections.abc import Sequence

from torch import Tensor

from video_adapt.adapters import TIA, Adapter, inject
from video_adapt.backbones.base import Backbone
from video_adapt.detection import ActionFormer, Detector, PostProcess
from video_adapt.tasks import (
    DetectionOptimizerSpec,
    DetectionTask,
    FrozenBackboneMixin,
    Tuning,
)


class AdaTAD(FrozenBackboneMixin, DetectionTask):
    """Detect actions end to end: frames pass an adapted backbone, its features a detector.

    ==================  ============  ==========================================================
    variant             tuning        what trains beside the detector
    ==================  ============  ==========================================================
    frozen features     ``frozen``    nothing
    AdaTAD              ``adapter``   adapters inside the backbone's blocks
    AdaTAD (dagger)     ``side``      adapters beside the backbone, no gradient enters it
    last blocks         ``last_n``    the last blocks of the backbone
    full fine-tuning    ``full``      the whole backbone
    ==================  ============  ==========================================================

    Args:
        backbone: The video model, or an image model that is run on every frame.
        class_names: Names of the classes, in the order of their indices.
        detector: The head and its settings; None = ActionFormer as on THUMOS-14.
        optimizer: Recipe of the optimiser.
        tuning: What trains inside or beside the backbone.
        last_n: Number of blocks for ``tuning: last_n``.
        adapter: The adapter for ``tuning: adapter`` and ``tuning: side``; None = TIA as published.
        postprocess: From proposals to detections; None = the settings of THUMOS-14.
        thresholds: Temporal IoU at which mAP is measured.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        class_names: Sequence[str],
        detector: Detector | None = None,
        optimizer: DetectionOptimizerSpec | None = None,
        tuning: Tuning = "adapter",
        last_n: int = 0,
        adapter: Adapter | None = None,
        postprocess: PostProcess | None = None,
        thresholds: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7),
    ) -> None:
        super().__init__(
            class_names=class_names,
            detector=detector or ActionFormer(),
            optimizer=optimizer,
            postprocess=postprocess,
            thresholds=thresholds,
        )
        if tuning in ("adapter", "side"):
            inject(backbone, adapter or TIA())
        self.backbone = backbone
        self.build_head(backbone.width)
        self.freeze_backbone(tuning, last_n=last_n, reads_embedding=False)

    def sequence(self, video: Tensor) -> Tensor:
        """One vector per time step of the backbone, ``[B, T / tubelet, D]``."""
        return self.encode_sequence(video)
