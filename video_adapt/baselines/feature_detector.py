"""A detector on features that were extracted before: the reference that end-to-end work beats."""

from collections.abc import Sequence

from torch import Tensor

from video_adapt.detection import Detector, PostProcess
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import DetectionOptimizerSpec, DetectionTask


class FeatureDetector(DetectionTask):
    """Detect actions in sequences of feature vectors; there is no backbone.

    Args:
        class_names: Names of the classes, in the order of their indices.
        width: Width of the features.
        detector: The head and its settings.
        optimizer: Recipe of the optimiser.
        postprocess: From proposals to detections; None = the settings of THUMOS-14.
        thresholds: Temporal IoU at which mAP is measured.
    """

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        width: int,
        detector: Detector,
        optimizer: DetectionOptimizerSpec | None = None,
        postprocess: PostProcess | None = None,
        thresholds: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7),
    ) -> None:
        super().__init__(
            class_names=class_names,
            detector=detector,
            optimizer=optimizer,
            postprocess=postprocess,
            thresholds=thresholds,
        )
        self.width = width
        self.build_head(width)

    def sequence(self, video: Tensor) -> Tensor:
        """The features as they are, ``[B, S, D]``.

        Raises:
            ConfigurationError: If they are frames, or of another width.
        """
        if video.ndim != 3 or video.shape[-1] != self.width:
            raise ConfigurationError(
                f"FeatureDetector reads features [B, S, {self.width}], the data gives "
                f"{list(video.shape)}; set data.features, and model.width to their width"
            )
        return video
