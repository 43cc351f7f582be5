"""Training whose weights, gradients and optimiser state are spread over the processes (FSDP)."""

import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.autograd.graph import increment_version
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from .base import strategy_refused
from .frozen import FrozenBackboneMixin

# Queries and keys that a block returns are views; nobody writes into them.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


class FullySharded(DDPStrategy):
    """Data parallelism in which every process keeps a share of what trains (FSDP, ZeRO).

    Each of ``P`` processes holds ``1 / P`` of the trained weights, of their gradients and of the
    optimiser's state. The weights of a :meth:`Backbone.stages` are put together while it runs,
    forward and backward, all others for the length of a step, so that a method may run them in
    whatever way it likes. Frozen weights stay whole, as in data parallelism: they have neither
    gradient nor state.

    Results are those of ``ddp``, and so are checkpoints: one file with whole tensors, which any
    number of processes goes on from, with or without this strategy. Evaluation has whole weights,
    because processes have different numbers of batches in it.

    Source: Rajbhandari et al., "ZeRO" (SC 2020); Zhao et al., "PyTorch FSDP" (VLDB 2023).
    """

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """A checkpoint is spread over shares that must be there."""
        return True

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:  # as ddp does; frozen ones are compared by the mixin
            distributed.broadcast(parameter.detach(), 0)
        # A single number has no shares.
        whole = {p for p in model.parameters() if not (p.requires_grad and p.ndim)}
        for parameter in whole:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_average)
        for stage, method in _stages(model):
            fully_shard(stage, ignored_params=whole)
            register_fsdp_forward_method(stage, method)
        root = _Root(model)
        # The wrapper is sharded, so that the method keeps its class, which checkpoints name.
        fully_shard(root, ignored_params=whole)
        return root

    def _register_ddp_hooks(self) -> None:
        """There is nothing to register: the shares exchange by themselves."""

    def on_validation_start(self) -> None:
        """Put the weights together, in all processes at once."""
        for module in self._sharded():
            module.unshard()
            module.set_reshard_after_forward(False, recurse=False)
        assert self.model is not None
        for parameter in self.model.parameters():  # what was computed from them is known by this
            if parameter.requires_grad:
                increment_version(parameter)

    def on_validation_end(self) -> None:
        """Keep a share again, and forget how often this process ran what, as others differ."""
        for module in self._sharded():
            module.set_reshard_after_forward(not isinstance(module, _Root), recurse=False)
            if isinstance(module, _Root):
                module.reset_iter_state()

    def _sharded(self) -> list[FSDPModule]:
        assert self.model is not None
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Put all tensors of a checkpoint together, in all processes, and write it in the first.

        Args:
            checkpoint: What to write.
            filepath: Where.
            storage_options: Of the plugin that writes.
        """
        super().save_checkpoint(_gather(checkpoint), filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Read a checkpoint, and take this process's share of every copy of the weights in it."""
        checkpoint = super().load_checkpoint(checkpoint_path, weights_only=weights_only)
        assert self.lightning_module is not None
        live = self.lightning_module.state_dict()
        for key in ("state_dict", "current_model_state"):
            if key in checkpoint:
                checkpoint[key] = {k: _share(v, live.get(k)) for k, v in checkpoint[key].items()}
        return checkpoint

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's share of the optimiser's state."""
        for optimizer, recorded in zip(
            self.optimizers, checkpoint["optimizer_states"], strict=True
        ):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            shares = {
                number: {k: _share(v, parameters[number]) for k, v in state.items()}
                for number, state in recorded["state"].items()
            }
            optimizer.load_state_dict(recorded | {"state": shares})


def strategy_named(strategy: Any) -> Any:
    """What ``trainer.strategy`` stands for, where it is not as in Lightning.

    Args:
        strategy: ``fsdp`` is the one above, for Lightning's own wants blocks that run as modules.

    Raises:
        ConfigurationError: If checkpoints of what trains do not survive it.
    """
    if strategy == "fsdp":
        return FullySharded()
    if str(strategy).startswith(("fsdp", "deepspeed")):
        raise strategy_refused(strategy)
    return strategy


class _Root(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def _stages(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Stages of the method's backbone that train, where nobody else reads their weights."""
    if not isinstance(model, FrozenBackboneMixin) or model.reads_weights:
        return []
    stages = model.backbone.stages()
    return [s for s in stages if any(p.requires_grad for p in s[0].parameters())]


def _average(parameter: Tensor) -> None:
    """Make an accumulated gradient the mean over processes; what was a mean before stays one."""
    assert parameter.grad is not None
    distributed.all_reduce(parameter.grad)
    parameter.grad /= distributed.get_world_size()


def _gather(value: Any) -> Any:
    """Containers with whole tensors on the host in place of shares; all processes must call it."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return type(value)((k, _gather(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(_gather, value))
    return value


def _share(value: Any, live: Tensor | None) -> Any:
    """This process's share of a whole tensor, where ``live`` is one of shares of its shape."""
    if isinstance(live, DTensor) and isinstance(value, Tensor) and value.shape == live.shape:
        whole = value.to(live.device)
        return distribute_tensor(whole, live.device_mesh, live.placements)
    return value
