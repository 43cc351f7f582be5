"""Freezing has one owner: everything it implies is derived here from ``requires_grad`` alone."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from video_adapt.backbones.base import Backbone, Features, TextFeatures
from video_adapt.backbones.block_adapter import BottleneckAdapter
from video_adapt.checkpoints import digest
from video_adapt.errors import ConfigurationError, WeightsError

from .stored_features import Reads, facts_of, features_of, rows_of

Tuning = Literal["frozen", "adapter", "side", "last_n", "full"]
TextTuning = Literal["frozen", "temperature", "blocks", "full"]

# Frozen parts stay in eval mode on purpose; Lightning takes that for an accident.
warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of")


class ParameterCount(NamedTuple):
    """What training touches and what a checkpoint holds.

    Attributes:
        trained: Number of trainable parameters.
        total: Number of all parameters.
        checkpoint_bytes: Bytes of the weights that a checkpoint stores.
    """

    trained: int
    total: int
    checkpoint_bytes: int


class FrozenBackboneMixin(LightningModule):
    """Keep ``self.backbone`` frozen but for what ``tuning`` names, in every respect.

    A method calls :meth:`freeze_backbone` once, at the end of its constructor. From then on

    - frozen parameters have no gradient, and :meth:`encode` builds no graph if none is needed;
    - ``train()`` leaves every subtree without a trainable parameter in eval mode;
    - checkpoints hold trained weights only, and still load strictly: the frozen rest comes from
      the live backbone, whose digest must be the recorded one;
    - data-parallel training neither buckets nor broadcasts frozen tensors.

    Nothing is stored: ``requires_grad`` is read each time, so callbacks that unfreeze later work.

    Attributes:
        backbone: The model that stays frozen but for what trains in it.
        reads: What the method reads of a frozen backbone, if that is all that it sees of a video:
            it can then train from a feature cache; None = it cannot.
        reads_weights: Whether a step reads trained weights of the backbone otherwise than by
            running it, so that they have to be there as a whole (FSDP).
    """

    backbone: Backbone
    reads: Reads | None = None
    reads_weights: ClassVar[bool] = False

    def freeze_backbone(
        self,
        tuning: Tuning,
        *,
        last_n: int = 0,
        reads_embedding: bool = True,
        reads_temperature: bool = True,
        text_tuning: TextTuning = "frozen",
    ) -> None:
        """State what trains inside the backbone.

        Args:
            tuning: ``frozen`` nothing, ``adapter`` the injected adapters inside the blocks,
                ``side`` the same beside them, so that no gradient passes through a block,
                ``last_n`` the last blocks and what follows them, ``full`` the image tower, with
                the adapters inside it where there are any.
            last_n: Number of blocks for ``last_n``.
            reads_embedding: Whether the method reads the joint image-text space; otherwise the
                projection into it stays frozen, for it would never have a gradient.
            reads_temperature: The same of the temperature.
            text_tuning: What trains in the text tower: ``frozen`` nothing, ``blocks`` all but the
                embeddings of tokens and positions, ``full`` everything; with it the temperature,
                which ``temperature`` trains alone.

        Raises:
            ConfigurationError: If the choice and the backbone contradict each other.
        """
        adapters = list(self.backbone.adapters.parameters())
        if tuning != "full" and (tuning in ("adapter", "side")) != bool(adapters):
            raise ConfigurationError(
                f"tuning={tuning} with {len(adapters)} adapter weights in the backbone: "
                "tuning=adapter (or side) and an adapter go together; set both or neither, or "
                "tuning=full, which trains the whole tower and what was put inside it"
            )
        edits = self.backbone.adapters.values()
        if tuning == "side" and not all(isinstance(edit, BottleneckAdapter) for edit in edits):
            raise ConfigurationError(
                "tuning=side wants an adapter that can stand beside a block; set adapter: TIA"
            )
        if not 0 <= last_n <= self.backbone.depth or (tuning == "last_n") != (last_n > 0):
            raise ConfigurationError(
                f"tuning={tuning} with last_n={last_n}: tuning=last_n wants last_n between 1 and "
                f"{self.backbone.depth}, every other tuning wants 0"
            )
        self.backbone.requires_grad_(False)
        trained: dict[Tuning, Sequence[nn.Module]] = {
            "frozen": [],
            "adapter": [self.backbone.adapters],
            "side": [self.backbone.adapters],
            "last_n": self.backbone.last_blocks(last_n) if last_n else [],
            "full": [self.backbone.visual, self.backbone.adapters],
        }
        for module in trained[tuning]:
            module.requires_grad_(True)
        if text_tuning == "temperature":
            self.backbone.logit_scale.requires_grad_(True)
        elif text_tuning != "frozen":
            for module in self.backbone.text_parts(blocks_only=text_tuning == "blocks"):
                module.requires_grad_(True)
        if not reads_embedding:
            for parameter in self.backbone.projection:
                parameter.requires_grad_(False)
        if not reads_temperature:
            self.backbone.logit_scale.requires_grad_(False)
        self.backbone.beside = tuning == "side"
        self.tuning = tuning
        self.train(self.training)

    def encode(self, video: Tensor | Mapping[str, Tensor], **wanted: Any) -> Features:
        """Run the backbone, without a graph where nothing in it trains.

        Args:
            video: ``[B, T, C, H, W]``, or what it said before, see :meth:`rows_to_store`.
            **wanted: What else :meth:`Backbone.forward` shall return.
        """
        if isinstance(video, Mapping):
            return features_of(video, self._require_reads())
        with self._graph():
            features: Features = self.backbone(video, **wanted)
        return features

    def stored_facts(self) -> dict[str, object]:
        """All of the method that stored features depend on, as plain values.

        Raises:
            ConfigurationError: If the method cannot learn from stored features.
        """
        reads = self._require_reads()
        if any(p.requires_grad for p in self.backbone.parameters()):
            raise ConfigurationError(
                f"tuning={self.tuning} trains inside the backbone, so its features change; leave "
                "data.feature_cache out, or set tuning: frozen"
            )
        return facts_of(self.backbone, reads)

    @torch.no_grad()
    def rows_to_store(self, video: Tensor) -> dict[str, Tensor]:
        """What the method reads of clips ``[B, T, C, H, W]``, by name, each ``[B, T, ...]``."""
        reads = self._require_reads()
        features = self.backbone(video, blocks=reads.blocks, queries_keys=reads.queries_keys)
        return rows_of(features, reads)

    def _require_reads(self) -> Reads:
        if self.reads is None:
            raise ConfigurationError(
                f"{type(self).__name__} reads more of a video than features of a frozen backbone; "
                "leave data.feature_cache out"
            )
        return self.reads

    def embed_text(self, tokens: Tensor) -> TextFeatures:
        """Run the text tower, without a graph where nothing in the backbone trains.

        Args:
            tokens: int64 ``[Q, L]``: start, words, end (the largest id), zeros.
        """
        with self._graph():
            return self.backbone.embed_text(tokens)

    def encode_sequence(self, video: Tensor) -> Tensor:
        """One vector per time step, without a graph where nothing in the backbone trains.

        Args:
            video: ``[B, T, C, H, W]``.

        Returns:
            ``[B, T / tubelet, D]``.
        """
        with self._graph():
            return self.backbone.sequence(video)

    def _graph(self) -> AbstractContextManager[object]:
        trains = any(p.requires_grad for p in self.backbone.parameters())
        return torch.set_grad_enabled(trains and torch.is_grad_enabled())

    def train(self, mode: bool = True) -> "FrozenBackboneMixin":
        """Set the mode; frozen subtrees stay in eval, parameterless layers follow their parent."""
        super().train(mode)
        if mode:
            _wake(self, parent_trains=True)
        return self

    def parameter_count(self) -> ParameterCount:
        """Count what trains, what there is, and what a checkpoint stores."""
        return count_parameters(self)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Frozen tensors and buffers, by the names that DistributedDataParallel has for them."""
        return sorted(frozen_names(self) | {name for name, _ in self.named_buffers()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take frozen tensors out of every copy of the weights and leave their digest."""
        super().on_save_checkpoint(checkpoint)
        frozen = frozen_names(self)
        # A weight-averaging callback moves the live weights to a second key beside state_dict.
        for key in ("state_dict", "current_model_state"):
            if key in checkpoint:
                checkpoint[key] = {k: v for k, v in checkpoint[key].items() if k not in frozen}
        record = checkpoint.setdefault("video_adapt", {})
        record |= {
            "backbone": self.backbone.name,
            "frozen_digest": self._digest(frozen),
            "tuning": self.tuning,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the live frozen tensors back in front of strict loading.

        Raises:
            WeightsError: If the checkpoint was trained on another backbone, or is not ours.
        """
        super().on_load_checkpoint(checkpoint)
        record = checkpoint.get("video_adapt", {})
        live = self.state_dict()
        frozen = frozen_names(self)
        missing = {k for k in frozen if k not in checkpoint["state_dict"]}
        if missing and record.get("frozen_digest") != (own := self._digest(missing)):
            raise WeightsError(
                f"checkpoint was trained on backbone {record.get('backbone')!r} "
                f"(digest {str(record.get('frozen_digest'))[:12]}), this is {self.backbone.name!r} "
                f"(digest {own[:12]}); give the backbone the weights of the training run"
            )
        for key in ("state_dict", "current_model_state"):
            if key in checkpoint:
                checkpoint[key] |= {k: live[k] for k in missing}

    def on_fit_start(self) -> None:
        """Refuse processes whose frozen weights differ: nothing would ever make them equal."""
        super().on_fit_start()
        if self.trainer.world_size > 1:
            strategy, mine = self.trainer.strategy, self._digest(frozen_names(self))
            # All processes decide together, so that none waits for one that has given up.
            if not strategy.reduce_boolean_decision(strategy.broadcast(mine) == mine):
                raise WeightsError(
                    "frozen weights differ between processes; load them from one file or set "
                    "seed_everything so that random ones agree"
                )

    def _digest(self, names: Iterable[str]) -> str:
        """Digest of the named tensors; computed anew only when one of them was written to."""
        live = self.state_dict()
        tensors = {name: live[name] for name in sorted(names)}
        key = tuple((name, tensor._version) for name, tensor in tensors.items())
        if getattr(self, "_digest_key", None) != key:
            self._digest_key, self._digest_value = key, digest(tensors)
        return self._digest_value


def count_parameters(module: nn.Module) -> ParameterCount:
    """Count what trains, what there is, and what a checkpoint of a method stores."""
    parameters = list(module.parameters())
    frozen = frozen_names(module)
    saved = [v for k, v in module.state_dict().items() if k not in frozen]
    return ParameterCount(
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(p.numel() for p in parameters),
        checkpoint_bytes=sum(v.numel() * v.element_size() for v in saved),
    )


def frozen_names(module: nn.Module) -> set[str]:
    """State-dict keys that training cannot change.

    These are parameters without gradient, and buffers of subtrees in which nothing trains.
    """
    names = {name for name, p in module.named_parameters() if not p.requires_grad}
    for prefix, subtree in _frozen_subtrees(module):
        names |= {f"{prefix}{name}" for name in subtree.state_dict()}
    return names & set(module.state_dict())


def _frozen_subtrees(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_modules():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            yield f"{name}." if name else "", child


def _wake(module: nn.Module, *, parent_trains: bool) -> None:
    parameters = list(module.parameters())
    trains = any(p.requires_grad for p in parameters) if parameters else parent_trains
    module.training = trains
    for child in module.children():
        _wake(child, parent_trains=trains)
