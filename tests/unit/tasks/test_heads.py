import torch
from torch.nn import functional as F

from tests.fakes import FakeBackbone
from video_adapt.tasks import LinearHead, TextHead, soft_target_cross_entropy


def test_text_head_is_the_scaled_cosine_with_each_prompt():
    backbone = FakeBackbone()
    head = TextHead(["run", "jump"], template="a video of {}")
    embedding = torch.randn(5, backbone.width)
    text = backbone.encode_text(["a video of run", "a video of jump"])
    expected = backbone.logit_scale.exp() * F.cosine_similarity(
        embedding[:, None], text[None], dim=-1
    )
    torch.testing.assert_close(head(embedding, backbone), expected)


def test_text_features_are_computed_once_and_not_saved():
    backbone = FakeBackbone()
    head = TextHead(["run", "jump"])
    first = head.features(backbone)
    assert head.features(backbone) is first
    assert not first.requires_grad
    assert head.state_dict() == {}


def test_linear_head_starts_small():
    torch.manual_seed(0)
    head = LinearHead(512, 100, dropout=0.5, norm=True).eval()
    assert head(torch.randn(4, 512)).abs().max() < 3
    assert head[2].weight.std() < 0.025


def test_cross_entropy_takes_indices_and_distributions():
    logits, label = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    by_index = soft_target_cross_entropy(logits, label)
    torch.testing.assert_close(
        by_index, soft_target_cross_entropy(logits, F.one_hot(label, 3).float())
    )
    manual = -(logits.log_softmax(-1)[range(4), label]).mean()
    torch.testing.assert_close(by_index, manual)
