"""Sentences about a class, and their tokens."""

from tests.parity.cases import Case, check
from tests.parity.checks.clip import SMALL_TEXT, SMALL_VISION
from video_adapt.backbones import CLIP
from video_adapt.tasks import Prompts
from video_adapt.vocabulary import Vocabulary


@check("froster", "prompts_tokens")
def prompts_tokens(case: Case) -> None:
    prompts = Prompts()
    assert len(prompts) == case.config["templates"]
    text = SMALL_TEXT | {"vocab_size": 49408, "context_length": case.config["context_length"]}
    towers = CLIP.from_config(
        {"embed_dim": 8, "vision_cfg": SMALL_VISION, "text_cfg": text, "quick_gelu": True}
    )
    for entry in case.meta["classes"]:
        name, _, description = entry["entry"].partition(": ")
        vocabulary = Vocabulary("recorded", (name,), (description,))
        written = [prompts.write(vocabulary, number)[0] for number in range(len(prompts))]
        assert written == entry["eval_prompts"]
        for recorded in entry["token_ids"]:
            tokens = towers.tokenize([written[recorded["template"]]], cut=False)[0].tolist()
            ids = recorded["ids"]
            assert tokens == ids + [0] * (case.config["context_length"] - len(ids))
