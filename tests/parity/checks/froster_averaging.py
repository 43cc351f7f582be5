"""The mean of epoch checkpoints."""

from tests.parity.cases import Case, check
from video_adapt.callbacks.weight_averaging import UniformMean


@check("froster", "weight_average")
def weight_average(case: Case) -> None:
    first, last = case.config["average_from"], case.config["average_to"]
    mean = UniformMean()
    for epoch in case.config["available_epochs"]:
        if first <= epoch <= last:
            mean.add(case.group(f"inputs/epoch_{epoch}"))
    expected = case.group("outputs")
    for name, value in expected.items():
        case.assert_close(mean.tensors[name], value, name)
    # The released tool keeps neither the teacher, which does not change, nor ST-Adapter's weights.
    lost = mean.tensors.keys() - expected.keys()
    assert all(name.startswith("raw_model.") or "stadapt_" in name for name in lost), lost
