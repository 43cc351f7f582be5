"""The official test of FROSTER: interpolated weights, 29 prompts, logits summed over views."""

import torch

from tests.parity.cases import Case, check
from tests.parity.checks.froster_objective import attention_of, class_names, clip_of, compare
from video_adapt.batches import ClipLogits
from video_adapt.checkpoints import convert_keys
from video_adapt.methods import FROSTER
from video_adapt.methods.froster.published import STUDENT_KEYS
from video_adapt.metrics import VideoAccuracy
from video_adapt.tasks import Prompts
from video_adapt.vocabulary import Vocabulary


def build(case: Case) -> FROSTER:
    """The recorded tuned and original weights; its tokens stand in the place of prompts."""
    config = case.config
    method = FROSTER(
        clip_of(config),
        class_names=class_names(config),
        adapter=attention_of(config["temporal_type"]),
        distillation=0.0,
        prompts=Prompts(),
        patch_ratio=config["patching_ratio"] or 0.0,
    )
    assert len(method.prompts) == config["prompt_templates"]
    tuned = {k: v for k, v in case.group("weights/tuned").items() if k.startswith("model.")}
    method.backbone.load_weights(convert_keys(tuned, STUDENT_KEYS))
    if original := case.group("weights/clip"):
        method.original.load_weights(original)
    tokens = case.group("inputs")["tokens"]
    method.text.tokens = lambda towers, vocabulary, number: tokens[number]
    return method.eval()


def evaluate(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    method = build(case)
    vocabulary = Vocabulary("test", tuple(class_names(config)))
    video = inputs["frames"].transpose(2, 3)  # [videos, V, T, C, H, W]
    videos, views = video.shape[:2]
    with torch.inference_mode():
        logits = method.classify(video.flatten(0, 1), vocabulary)
        towers = method.interpolation(method.original, method.backbone)
        classes = method.text.classifier(towers, vocabulary)
    metric = VideoAccuracy(config["classes"])
    ids = torch.arange(videos).repeat_interleave(views)
    number = torch.arange(views).repeat(videos)
    metric.update(ClipLogits(ids, number, logits, inputs["labels"].repeat_interleave(views)))
    result = metric.compute()
    outputs = {
        "clip_logits": logits.unflatten(0, (videos, views)),
        "video_scores": torch.from_numpy(result.videos.scores).float(),
        "top1": torch.tensor(round(100 * result.top1, 2)),
        "top5": torch.tensor(round(100 * result.top5, 2)),
    }
    compare(case, outputs, case.group("outputs"), "outputs")
    compare(case, {"text_classifier": classes}, case.group("inter"), "inter")


check("froster", "froster_eval_plain")(evaluate)
check("froster", "froster_eval_patched")(evaluate)
