import open_clip
import pytest
import torch
from torch.nn import functional as F

from tests.contracts.helpers import CLASSES, tiny_clip, video
from video_adapt.baselines import ZeroShot
from video_adapt.errors import ConfigurationError


def test_equals_open_clips_own_logits_averaged_over_frames():
    backbone = tiny_clip()
    method = ZeroShot(backbone, class_names=CLASSES, template="someone {}").eval()
    clip = backbone.towers.eval()
    tokens = open_clip.SimpleTokenizer(context_length=clip.context_length)(
        [f"someone {name}" for name in CLASSES]
    )
    with torch.no_grad():
        text = F.normalize(clip.encode_text(tokens), dim=-1)
        frames = torch.stack([F.normalize(clip.encode_image(frame), dim=-1) for frame in video()])
        expected = (clip.logit_scale.exp() * frames @ text.T).mean(1)
    torch.testing.assert_close(method(video()), expected, rtol=1e-4, atol=1e-4)


def test_nothing_trains():
    method = ZeroShot(tiny_clip(), class_names=CLASSES)
    assert method.parameter_count().trained == 0
    assert method.parameter_count().checkpoint_bytes == 0


def test_training_is_refused():
    method = ZeroShot(tiny_clip(), class_names=CLASSES)
    with pytest.raises(ConfigurationError, match="nothing to train: use validate, test or predict"):
        method.configure_optimizers()
