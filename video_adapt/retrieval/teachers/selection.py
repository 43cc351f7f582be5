"""Choosing the patches of a frame that matter, with a gradient: perturbed top-k.

Sources: Liu et al., TS2-Net, ECCV 2022, section 3.3; Cordonnier et al., Differentiable Patch
Selection for Image Recognition, CVPR 2021; Berthet et al., Learning with Differentiable Perturbed
Optimizers, NeurIPS 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def perturbed_top_k(scores: Tensor, noise: Tensor, *, k: int, sigma: float) -> Tensor:
    """The k best places under many small disturbances, averaged.

    Args:
        scores: ``[M, P]``.
        noise: Standard normal, ``[M, samples, P]``, or ``[1, samples, P]`` for the same to all.
        k: Number of places, in ascending order of their index.
        sigma: Size of the disturbance.

    Returns:
        ``[M, k, P]``: row ``j`` says how often each place was the ``j``-th of the best; rows sum
        to 1. The gradient to a score is the mean of (chosen times noise) over ``sigma``; that of
        other scores through the competition is left out, as in the released code.
    """
    samples = noise.shape[1]
    disturbed = scores.detach()[:, None] + sigma * noise  # [M, samples, P]
    places = disturbed.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values
    pushes = noise.expand_as(disturbed).gather(-1, places)  # [M, samples, k]
    # Counted in place of one-hot vectors, which would take `samples` times the memory.
    empty = scores.new_zeros(len(scores), k, scores.shape[1])
    index = places.transpose(1, 2)  # [M, k, samples]
    chosen = empty.scatter_add(-1, index, empty.new_ones(()).expand(index.shape)) / samples
    slope = empty.scatter_add(-1, index, pushes.transpose(1, 2)) / (samples * sigma)
    # Adds nothing but the gradient: `scores - scores` is 0.
    return chosen + (scores - scores.detach())[:, None] * slope


class TokenSelector(nn.Module):
    """Keeps the class token of a frame and mixes few tokens out of its patches.

    Args:
        width: Width ``E`` of the tokens.
        k: Tokens to mix.
        samples: Disturbances to average over.
        sigma: Size of a disturbance.
        seed: Of the disturbance outside training, when every frame of every video meets the same
            one: what is said of a video depends neither on the batch nor on the run. In training
            it is drawn anew from torch's generator.
    """

    def __init__(self, width: int, *, k: int, samples: int, sigma: float, seed: int) -> None:
        super().__init__()
        half = width // 2
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, half, bias=False)
        self.mix = nn.Linear(2 * half, half, bias=False)
        self.score = nn.Linear(half, 1, bias=False)
        self.k, self.samples, self.sigma, self.seed = k, samples, sigma, seed

    def scores(self, tokens: Tensor) -> Tensor:
        """Rate tokens beside their class token: ``[M, N, E]`` to ``[M, N]`` in (-1, 1)."""
        hidden = F.gelu(self.hidden(self.norm(tokens)))  # [M, N, E/2]
        pair = torch.cat([hidden, hidden[:, :1].expand_as(hidden)], dim=-1)
        return self.score(F.gelu(self.mix(pair))).squeeze(-1).tanh()

    def forward(self, tokens: Tensor, noise: Tensor | None = None) -> Tensor:
        """Select from the tokens of ``M`` frames.

        Args:
            tokens: Class token, then patches, ``[M, N, E]``.
            noise: ``[M, samples, N - 1]`` to use instead of one that is drawn.

        Returns:
            The class token, then mixed tokens, ``[M, 1 + k, E]``.
        """
        # Ranked in full: half precision would make ties.
        scores = self.scores(tokens)[:, 1:].float()
        noise = self._draw(scores) if noise is None else noise
        mixing = perturbed_top_k(scores, noise, k=self.k, sigma=self.sigma)
        return torch.cat([tokens[:, :1], mixing.to(tokens.dtype) @ tokens[:, 1:]], dim=1)

    def _draw(self, scores: Tensor) -> Tensor:
        frames, patches = scores.shape
        if self.training:
            return torch.randn(frames, self.samples, patches, device=scores.device)
        # On the CPU, so that the device makes no difference either.
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(1, self.samples, patches, generator=generator).to(scores.device)
