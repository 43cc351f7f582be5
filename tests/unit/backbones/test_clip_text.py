import logging

import open_clip
import pytest
import torch

from tests.unit.backbones.test_clip import changed
from video_adapt.backbones import CLIP
from video_adapt.errors import ConfigurationError


def clip(**values):
    torch.manual_seed(0)
    return CLIP.from_config(changed(text_layers=2, **values)).eval()


def sentences(length=10, count=4):
    """Words, the end at another place in each, zeros."""
    tokens = torch.randint(1, 49000, (count, length), generator=torch.Generator().manual_seed(0))
    for row, end in enumerate(range(length - count, length)):
        tokens[row, end] = 49407
        tokens[row, end + 1 :] = 0
    return tokens


def test_sentences_equal_those_of_open_clip():
    backbone = clip()
    tokens = sentences()
    torch.testing.assert_close(
        backbone.embed_text(tokens).embedding, backbone.encode_tokens(tokens)
    )


def test_a_short_sequence_gives_what_the_padded_one_gives():
    backbone = clip()
    tokens = sentences(6)
    padded = torch.nn.functional.pad(tokens, (0, 4))
    short, long = backbone.embed_text(tokens), backbone.embed_text(padded)
    torch.testing.assert_close(short.embedding, long.embedding)
    torch.testing.assert_close(short.words, long.words[:, :6])


def test_the_sentence_is_its_end_token():
    features = clip().embed_text(sentences())
    for row, end in enumerate(range(6, 10)):
        assert torch.equal(features.embedding[row], features.words[row, end])


def test_gradients_reach_every_weight_of_the_text_tower():
    backbone = clip()
    backbone.embed_text(sentences()).embedding.sum().backward()
    assert not [k for k, p in backbone.towers.text.named_parameters() if p.grad is None]


def test_sentences_longer_than_the_context_are_refused():
    with pytest.raises(ConfigurationError, match="sentences of 11 tokens, the text tower knows 10"):
        clip().embed_text(sentences(11))


@pytest.mark.parametrize(
    "values",
    [{"text_no_causal_mask": True}, {"text_pool_type": "last"}, {"text_proj_bias": True}],
)
def test_a_text_tower_of_another_kind_is_refused(values):
    backbone = clip(**values)
    with pytest.raises(ConfigurationError, match="not of CLIP's own kind"):
        backbone.embed_text(sentences())
    with pytest.raises(ConfigurationError, match="not of CLIP's own kind"):
        backbone.text_parts(blocks_only=True)


def test_a_dropped_text_tower_is_missed():
    backbone = clip()
    backbone.drop_text()
    for call in (
        lambda: backbone.embed_text(sentences()),
        lambda: backbone.text_parts(blocks_only=False),
        lambda: backbone.tokenize(["one"]),
    ):
        with pytest.raises(ConfigurationError, match=r"drop_text\(\) took the text tower away"):
            call()


def test_captions_become_tokens_of_the_length_asked_for(caplog):
    with caplog.at_level(logging.WARNING):
        tokens = clip().tokenize(["a man", "one two three four five"], length=5)
    assert tokens.tolist() == [[49406, 320, 786, 49407, 0], [49406, 637, 1237, 2097, 49407]]
    assert "1 of 2 prompts are longer than 5 tokens and were cut, first: 'one two" in caplog.text


@pytest.mark.parametrize("length", [1, 11])
def test_captions_of_impossible_length_are_refused(length):
    with pytest.raises(ConfigurationError, match=f"sentences of {length} tokens, .* reads 2 to 10"):
        clip().tokenize(["a man"], length=length)


def test_a_sentence_is_read_once_and_as_open_clip_does(monkeypatch):
    backbone, seen = clip(), []
    tokenizer = open_clip.SimpleTokenizer(context_length=10)
    sentences = ["a red square", "", "word " * 9, "Two &amp; three"]
    expected = tokenizer(sentences)
    encode = type(tokenizer).encode
    monkeypatch.setattr(
        type(tokenizer), "encode", lambda self, text: seen.append(text) or encode(self, text)
    )
    assert torch.equal(backbone.tokenize(sentences), expected)
    assert seen == sentences


def test_a_caption_that_must_not_be_cut_is_refused():
    with pytest.raises(ConfigurationError, match="1 of 2 prompts are longer than the 5 tokens"):
        clip().tokenize(["a man", "one two three four five"], length=5, cut=False)
    assert clip().tokenize(["a man"], length=5, cut=False)[0, 3] == 49407
