import pytest
from torch import nn

from video_adapt.tasks import DistCosine, RetrievalOptimizerSpec, retrieval_groups

SPEC = RetrievalOptimizerSpec(
    lr=1.0, tower_lr=2.0, pooling_lr=3.0, weight_decay=0.5, schedule=DistCosine()
)


class Retriever(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "tower": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)),
                "frozen": nn.Linear(2, 2).requires_grad_(False),
                "adapters": nn.Linear(2, 2),
            }
        )
        self.student = nn.ModuleDict({"temporal": nn.Linear(2, 2), "pooling": nn.Linear(2, 1)})


def sorted_by_group(module, spec):
    names = {id(p): name for name, p in module.named_parameters()}
    groups = retrieval_groups(module, spec)
    return {
        (g["name"], g["lr"], g["weight_decay"]): [names[id(p)] for p in g["params"]] for g in groups
    }


def test_every_part_has_its_rate_and_biases_are_spared():
    assert sorted_by_group(Retriever(), SPEC) == {
        ("towers/decay", 2.0, 0.5): ["backbone.tower.0.weight", "backbone.tower.1.weight"],
        ("towers/no_decay", 2.0, 0.0): ["backbone.tower.0.bias", "backbone.tower.1.bias"],
        ("new/decay", 1.0, 0.5): ["backbone.adapters.weight", "student.temporal.weight"],
        ("new/no_decay", 1.0, 0.0): ["backbone.adapters.bias", "student.temporal.bias"],
        ("pooling/decay", 3.0, 0.5): ["student.pooling.weight"],
        ("pooling/no_decay", 3.0, 0.0): ["student.pooling.bias"],
    }


@pytest.mark.parametrize(("decay", "decayed"), [("published", True), ("matrices", False)])
def test_norms_are_decayed_where_asked(decay, decayed):
    spec = RetrievalOptimizerSpec(decay=decay, schedule=DistCosine())
    groups = sorted_by_group(Retriever(), spec)
    name = f"towers/{'decay' if decayed else 'no_decay'}"
    assert "backbone.tower.1.weight" in next(v for k, v in groups.items() if k[0] == name)


def test_parts_without_trained_weights_have_no_group():
    module = Retriever()
    module.backbone.requires_grad_(False)
    assert {name for name, *_ in sorted_by_group(module, SPEC)} == {
        "new/decay",
        "new/no_decay",
        "pooling/decay",
        "pooling/no_decay",
    }
