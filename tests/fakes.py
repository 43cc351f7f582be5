"""A backbone small enough to read, with everything that freezing can get wrong."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from video_adapt.backbones.base import Backbone, Features, PixelSpec
from video_adapt.backbones.block_adapter import BlockAdapter
from video_adapt.tasks import FrozenBackboneMixin, OptimizerSpec, RecognitionTask


class FakeBlock(nn.Module):
    """A residual layer with a norm that keeps statistics and a dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.norm(self.linear(tokens).flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return tokens + self.dropout(torch.relu(mixed))


class FakeAdapter(BlockAdapter):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.5)

    def before_mlp(self, tokens: Tensor, *, num_frames: int, grid: tuple[int, int]) -> Tensor:
        return tokens + self.dropout(self.linear(tokens))


class FakeBackbone(Backbone):
    def __init__(self, width: int = 8, depth: int = 3, *, adapted: bool = False) -> None:
        super().__init__()
        self.name, self.width, self.depth, self.embed_dim = "fake", width, depth, width
        self.heads, self.patch_size = 1, 4
        self.pixels = PixelSpec(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.tower = nn.ModuleDict(
            {
                "stem": nn.Conv2d(3, width, 4, 4),
                "blocks": nn.ModuleList(FakeBlock(width) for _ in range(depth)),
                "norm": nn.LayerNorm(width),
            }
        )
        self.text = nn.Embedding(256, width)
        self.scale = nn.Parameter(torch.tensor(1.0))
        if adapted:
            self.adapters["1"] = FakeAdapter(width)

    @property
    def visual(self) -> nn.Module:
        return self.tower

    @property
    def logit_scale(self) -> Tensor:
        return self.scale

    def last_blocks(self, count: int) -> list[nn.Module]:
        return [*self.tower["blocks"][-count:], self.tower["norm"]]

    def final_norm(self, tokens: Tensor) -> Tensor:
        return self.tower["norm"](tokens)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return torch.stack([self.text(torch.tensor(list(p.encode()))).mean(0) for p in prompts])

    def forward(
        self, video: Tensor, *, blocks: Sequence[int] = (), queries_keys: Sequence[int] = ()
    ) -> Features:
        b, t = video.shape[:2]
        tokens = self.tower["stem"](video.flatten(0, 1)).flatten(2).transpose(1, 2)
        kept = {}
        for i, block in enumerate(self.tower["blocks"]):
            tokens = block(self.adapter_inside(i).before_mlp(tokens, num_frames=t, grid=self.grid))
            if i in blocks:
                kept[i] = tokens.unflatten(0, (b, t))
        tokens = tokens.unflatten(0, (b, t))
        pooled = self.final_norm(tokens.mean(2))
        return Features(pooled, pooled, tokens, kept, {})


class FakeMethod(FrozenBackboneMixin, RecognitionTask):
    def __init__(
        self,
        backbone: FakeBackbone,
        class_names: Sequence[str] = ("a", "b", "c"),
        optimizer: OptimizerSpec | None = None,
        tuning: str = "frozen",
        last_n: int = 0,
    ) -> None:
        super().__init__(
            class_names=class_names, optimizer=optimizer or OptimizerSpec(lr=0.05, weight_decay=0.1)
        )
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(backbone.width, self.num_classes))
        self.freeze_backbone(tuning, last_n=last_n)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.encode(video).class_token.mean(1))
