"""Pre-train the tiny CLIP on stills of the demonstration world; run with ``python -m``.

Captions name colour, shape, size, place and heading of what is in the picture, in sentences of
varying completeness, and never anything that needs a second frame. What comes out knows the world
the way a real CLIP knows ours: by its looks.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP, SimpleTokenizer
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from video_adapt.backbones.tiny import CONFIG, WEIGHTS, initial_token_embedding, pack_weights
from video_adapt.video.synthetic import Actor

from .tiny_stills import QUESTIONS, WORDS, Stills, all_words, draw_stills


@dataclass(frozen=True)
class Recipe:
    """How the tiny CLIP is trained.

    Args:
        steps: Optimiser steps; every picture is seen once.
        batch: Pictures a step.
        lr: Peak rate of AdamW, after 50 steps of warm-up; then a cosine to zero.
        weight_decay: On matrices only, embeddings excepted.
        naming: Weight of the loss of :class:`WordHead`.
        context: Tokens of the longest caption. Text attends backwards only, so training on fewer
            than the model's 77 is the same, and faster.
        pairs: Share of the pictures that show two shapes.
        seed: Seed of weights and pictures.
    """

    steps: int = 1600
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    naming: float = 2.0
    context: int = 24
    pairs: float = 0.15
    seed: int = 0


class WordHead(nn.Module):
    """Names what is in a picture, one word of each kind; used in training only.

    Contrast alone learns colour and size, and is satisfied for long: place and shape come late.

    Args:
        embed_dim: Width ``E`` of the joint space.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.kinds = nn.ModuleDict({k: nn.Linear(embed_dim, len(w)) for k, w in WORDS.items()})

    def forward(self, image: Tensor, stills: Stills) -> Tensor:
        """Mean cross entropy over the kinds of words; ``image`` is ``[B, E]``."""
        words = [all_words(actor) for actor in stills.actors]
        losses = []
        for kind, linear in self.kinds.items():
            right = torch.tensor([WORDS[kind].index(said[kind]) for said in words])
            logits = linear(image[stills.alone])
            losses.append(F.cross_entropy(logits, right[stills.alone]))
        return torch.stack(losses).mean()


def contrastive_loss(
    image: Tensor, text: Tensor, logit_scale: Tensor, sentences: Sequence[str]
) -> Tensor:
    """Symmetric cross entropy over cosine similarities; equal sentences are equally right.

    Args:
        image: Embeddings of the pictures ``[B, E]``.
        text: Embeddings of their captions, then of wrong sentences ``[B + wrong, E]``.
        logit_scale: Logarithm of the temperature that multiplies the similarities.
        sentences: What ``text`` embeds.

    Source: Radford et al., ICML 2021, figure 3; with wrong captions of each picture as in
    Yuksekgonul et al., ICLR 2023, without which place and heading are learnt late.
    """
    number = {sentence: i for i, sentence in enumerate(sentences)}
    ids = torch.tensor([number[sentence] for sentence in sentences])
    b = len(image)
    same = (ids[:b, None] == ids[None, :]).float()  # [B, B + wrong]
    logits = logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    to_text = F.cross_entropy(logits, F.normalize(same, p=1, dim=1))
    to_image = F.cross_entropy(logits[:, :b].T, F.normalize(same[:, :b], p=1, dim=1))
    return (to_text + to_image) / 2


@torch.no_grad()
def zero_shot_accuracy(
    image: Tensor, actors: Sequence[Actor], encode: Callable[[list[str]], Tensor]
) -> dict[str, float]:
    """Share of right answers to each of :data:`QUESTIONS`.

    Args:
        image: Embeddings of pictures of one shape each ``[B, E]``.
        actors: The shapes.
        encode: Embeds sentences.
    """
    shares = {}
    for what, (options, sentence, answer) in QUESTIONS.items():
        asked = [[sentence(actor, option) for option in options] for actor in actors]
        sentences = list(dict.fromkeys(text for row in asked for text in row))
        number = {text: i for i, text in enumerate(sentences)}
        rows = torch.tensor([[number[text] for text in row] for row in asked])  # [B, options]
        scores = image @ F.normalize(encode(sentences), dim=-1).T  # [B, sentences]
        best = scores.gather(1, rows).argmax(dim=1)
        right = torch.tensor([options.index(answer(actor)) for actor in actors])
        shares[f"{what} ({len(options)} answers)"] = float((best == right).float().mean())
    return shares


def train(recipe: Recipe, *, held_out: int = 2000) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train a tiny CLIP from nothing, with a progress bar.

    Returns:
        State of the open_clip model, and its zero-shot accuracy on ``held_out`` other stills.
    """
    torch.manual_seed(recipe.seed)
    config = json.loads(CONFIG.read_text())
    context = config["text_cfg"]["context_length"]
    config["text_cfg"]["context_length"] = recipe.context
    size = config["vision_cfg"]["image_size"]
    model = CLIP(**config)
    with torch.no_grad():
        table = model.token_embedding.weight
        table.copy_(initial_token_embedding(*table.shape))
        positions = model.visual.positional_embedding[1:]
        positions.copy_(initial_positions(*positions.shape))
    tokenizer = SimpleTokenizer(context_length=recipe.context)
    names = WordHead(config["embed_dim"])
    optimizer, schedule = _optimizer(nn.ModuleList([model, names]), recipe)
    for step in track(range(recipe.steps), "Pre-training"):
        stills = draw_stills((recipe.seed, 0, step), recipe.batch, size=size, pairs=recipe.pairs)
        image = model.encode_image(stills.pictures)
        sentences = [*stills.captions, *stills.mistakes]
        text = model.encode_text(tokenizer(sentences))
        loss = contrastive_loss(image, text, model.logit_scale, sentences)
        loss = loss + recipe.naming * names(image, stills)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(0, math.log(100))
    others = draw_stills((recipe.seed, 1), held_out, size=size, pairs=0.0)
    with torch.no_grad():
        image = torch.cat([model.encode_image(part) for part in others.pictures.split(250)])
    accuracy = zero_shot_accuracy(
        image, others.actors, lambda texts: model.encode_text(tokenizer(texts))
    )
    return _with_context(model.state_dict(), context), accuracy


def _optimizer(model: Any, recipe: Recipe) -> tuple[AdamW, LambdaLR]:
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embedding" not in name
        (decayed if matrix else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},  # decay would also move words that never occur
    ]

    def factor(step: int) -> float:
        return min((step + 1) / 50, (1 + math.cos(math.pi * step / recipe.steps)) / 2)

    optimizer = AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
    return optimizer, LambdaLR(optimizer, factor)


def initial_positions(patches: int, width: int) -> Tensor:
    """Waves across and down the grid ``[patches, width]``: a random start learns places late."""
    side = math.isqrt(patches)
    place = (torch.arange(side) + 0.5) / side
    phase = math.pi * place[:, None] * torch.arange(1, width // 8 + 1)  # [side, width / 8]
    waves = torch.cat([phase.sin(), phase.cos()], dim=1)  # [side, width / 4]
    down, across = waves[:, None].expand(-1, side, -1), waves[None, :].expand(side, -1, -1)
    rest = torch.zeros(side, side, width - 2 * waves.shape[1])
    return 0.5 * torch.cat([down, across, rest], dim=2).flatten(0, 1)


def _with_context(state: Mapping[str, Tensor], context: int) -> dict[str, Tensor]:
    """Give sentences longer than any caption a neutral position embedding."""
    trained = state["positional_embedding"]  # [context, width]
    rest = trained.new_zeros(context - len(trained), trained.shape[1])
    return {**state, "positional_embedding": torch.cat([trained, rest])}


def record(recipe: Recipe, accuracy: Mapping[str, float], minutes: float, num_bytes: int) -> str:
    """The note that lies beside the weights, in Markdown."""
    lines = [
        "# Tiny CLIP",
        "",
        "Pre-trained from nothing on stills of the demonstration world by `make tiny-clip`",
        f"({minutes:.0f} minutes of processor time; {num_bytes / 2**20:.1f} MiB). Captions name",
        "colour, shape, size, place and heading; neither they nor the pictures tell of time.",
        "",
        "| recipe | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in asdict(recipe).items()),
        "",
        "| zero-shot accuracy on 2,000 held-out stills | |",
        "|---|---|",
        *(f"| {what} | {100 * share:.1f} % |" for what, share in accuracy.items()),
        "",
        "The borders between places, sizes and headings are sharp and poses are continuous, so",
        "nobody answers those questions without fault.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, and write weights and note."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="fewer for a quick look")
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps)
    start = time.process_time()
    state, accuracy = train(recipe)
    minutes = (time.process_time() - start) / 60
    save_file(pack_weights(state), arguments.out)
    note = record(recipe, accuracy, minutes, arguments.out.stat().st_size)
    arguments.out.with_suffix(".md").write_text(note)


if __name__ == "__main__":
    main()
