"""Zero-shot CLIP with open-vocabulary prompts."""

import pytest
import torch

from tests.contracts.helpers import CLASSES, video
from tests.contracts.test_open_vocabulary import BUILDERS, NOVEL, PROMPTS, batch, tiny_clip
from video_adapt.baselines import ZeroShotCLIP
from video_adapt.errors import ConfigurationError


@pytest.fixture
def method():
    return ZeroShotCLIP(tiny_clip(), class_names=CLASSES, prompts=PROMPTS).eval()


def test_it_says_of_any_classes_what_methods_start_from(method):
    started = BUILDERS["froster_residual"](tiny_clip()).eval()
    torch.testing.assert_close(method.classify(video(), NOVEL), started.classify(video(), NOVEL))
    torch.testing.assert_close(
        method.classify(video(), NOVEL), started.zero_shot_logits(video(), NOVEL)
    )


def test_stored_embeddings_say_the_same(method):
    rows = method.rows_to_store(video())
    assert rows.keys() == {"embedding"}
    torch.testing.assert_close(method.classify(rows, NOVEL), method.classify(video(), NOVEL))


def test_nothing_trains_and_training_is_refused(method):
    assert method.parameter_count().trained == 0
    assert method.parameter_count().checkpoint_bytes == 0
    for start in (method.configure_optimizers, lambda: method.losses(batch(), 0)):
        with pytest.raises(ConfigurationError, match="nothing to train: use validate, test"):
            start()


def test_its_results_have_a_name(method):
    assert method.label == "zero-shot CLIP"
