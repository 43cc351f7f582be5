import pytest
import torch
from torch.nn import functional as F

from tests.contracts.test_open_vocabulary import tiny_clip
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import Prompts, TextBank, ensemble, frame_logits
from video_adapt.vocabulary import Vocabulary

PROMPTS = Prompts(templates=("a photo of {}.", "a film of {}."))
CLASSES = Vocabulary("set", ("diving", "a long walk", "sitting"), ("", "on two legs", ""))


@pytest.fixture
def towers():
    return tiny_clip().requires_grad_(False)


class Counting:
    """Counts the sentences that pass a text tower."""

    def __init__(self, towers):
        self.sentences, self.lengths = 0, []
        towers.text.ln_final.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.sentences += len(inputs[0])
        self.lengths.append(inputs[0].shape[1])


def test_the_classifier_is_the_direction_of_the_mean_direction_of_all_prompts(towers):
    classifier = TextBank(PROMPTS).classifier(towers, CLASSES)
    for row in range(3):
        total = torch.zeros(towers.embed_dim)
        for number in range(3):
            sentence = PROMPTS.write(CLASSES, number)[row]
            vector = towers.encode_text([sentence])[0]
            total += vector / vector.norm()
        torch.testing.assert_close(classifier[row], total / total.norm())


def test_every_prompt_is_read_once_whatever_the_set_is_called(towers):
    bank, counting = TextBank(PROMPTS), Counting(towers)
    bank.rows(towers, CLASSES, [1, 2])
    assert counting.sentences == 6
    bank.classifier(towers, CLASSES)
    assert counting.sentences == 9
    bank.classifier(towers, Vocabulary("other", CLASSES.classes, CLASSES.descriptions))
    assert counting.sentences == 9
    bank.classifier(towers, Vocabulary("set", CLASSES.classes))
    assert counting.sentences == 18


def test_sentences_are_read_no_further_than_the_longest(towers):
    counting = Counting(towers)
    rows = TextBank(PROMPTS).rows(towers, CLASSES, [0])
    assert counting.lengths[0] < towers.text.context_length
    whole = towers.encode_text(PROMPTS.write(CLASSES, 0))
    torch.testing.assert_close(rows[0], whole)


def test_a_changed_weight_or_another_tower_is_asked_again(towers):
    bank = TextBank(PROMPTS)
    before = bank.classifier(towers, CLASSES)
    other = bank.classifier(tiny_clip(seed=1), CLASSES)
    assert not torch.equal(before, other)
    with torch.no_grad():
        towers.text.text_projection.mul_(torch.linspace(1, 2, towers.embed_dim))
    assert not torch.allclose(bank.classifier(towers, CLASSES), before)


def test_what_is_kept_in_inference_mode_can_be_trained_with(towers):
    bank = TextBank(PROMPTS)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        classes = bank.classifier(towers, CLASSES)
    assert classes.dtype == torch.float32
    frames = torch.ones(1, 2, towers.embed_dim, requires_grad=True)
    frame_logits(frames, classes, torch.tensor(0.0)).sum().backward()
    assert frames.grad is not None


def test_a_prompt_too_long_for_the_tower_is_refused(towers):
    long = Vocabulary("set", ("diving",), ("very " * 30,))
    with pytest.raises(ConfigurationError, match="1 of 1 prompts are longer than the 20 tokens"):
        TextBank(PROMPTS).classifier(towers, long)


def test_logits_are_the_mean_over_frames_of_scaled_cosines():
    generator = torch.Generator().manual_seed(0)
    frames = F.normalize(torch.randn(2, 3, 5, generator=generator), dim=-1)
    classes = F.normalize(torch.randn(4, 5, generator=generator), dim=-1)
    scale = torch.tensor(1.5)
    mine = frame_logits(frames, classes, scale)
    for clip in range(2):
        for k in range(4):
            cosines = [float(frames[clip, t] @ classes[k]) for t in range(3)]
            assert mine[clip, k].item() == pytest.approx(2.718281828**1.5 * sum(cosines) / 3)


def test_prompts_of_any_length_count_alike():
    vectors = torch.tensor([[[10.0, 0.0]], [[0.0, 0.1]]])
    torch.testing.assert_close(ensemble(vectors), torch.tensor([[0.5**0.5, 0.5**0.5]]))


def test_prompts_that_may_be_cut_are_counted_once_for_all_of_them(towers, caplog):
    wordy = Vocabulary("set", ("diving", "a long walk"), ("far " * 30, "on two legs"))
    bank = TextBank(PROMPTS, cut=True)
    classifier = bank.classifier(towers, wordy)
    bank.classifier(towers, wordy)
    (line,) = caplog.messages
    assert line.startswith("3 of 6 prompts are longer than 20 tokens and were cut")
    caplog.clear()
    one_by_one = torch.stack([towers.encode_text(PROMPTS.write(wordy, n)) for n in range(3)])
    torch.testing.assert_close(classifier, ensemble(one_by_one))
