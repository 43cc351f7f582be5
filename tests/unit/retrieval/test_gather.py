import copy

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing import spawn

from tests.unit.retrieval.processes import as_processes
from video_adapt.retrieval import cached_step, contrastive_loss, encode_in_parts, gather


class Pair(nn.Module):
    """Two towers and a temperature."""

    def __init__(self):
        super().__init__()
        self.text, self.video = nn.Linear(6, 4), nn.Sequential(nn.Linear(5, 4), nn.Tanh())
        self.scale = nn.Parameter(torch.tensor(2.0))

    def encode(self, text, video):
        return self.text(text), self.video(video)

    def loss(self, text, video):
        return contrastive_loss(self.scale * text @ video.T)


torch.manual_seed(0)
START = Pair()


def rows(count):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 6, generator=generator), torch.randn(count, 5, generator=generator)


def grads_of(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def whole_batch(count):
    model = copy.deepcopy(START)
    return grads_of(model, model.loss(*model.encode(*rows(count))))


def one_share(batch, *, exact):
    """Gradients of one process before they are averaged."""
    model = copy.deepcopy(START)
    text, video = model.encode(*batch)
    return grads_of(model, model.loss(gather(text, exact=exact), gather(video, exact=exact)))


def averaged(sizes, *, exact):
    batches = list(zip(*(values.split(sizes) for values in rows(sum(sizes))), strict=True))
    shares = as_processes(lambda rank: one_share(batches[rank], exact=exact), len(sizes))
    return [torch.stack(grads).mean(dim=0) for grads in zip(*shares, strict=True)]


@pytest.mark.parametrize("sizes", [[4, 4], [2, 2, 2], [5, 2], [1, 4, 2]])
def test_processes_together_have_the_gradient_of_one(sizes):
    torch.testing.assert_close(averaged(sizes, exact=True), whole_batch(sum(sizes)))


def test_the_original_scaling_is_smaller_before_the_gathering_only():
    scale, *towers = averaged([3, 3], exact=False)
    whole_scale, *whole_towers = whole_batch(6)
    torch.testing.assert_close(scale, whole_scale)
    torch.testing.assert_close(towers, [grad / 2 for grad in whole_towers])


def test_rows_come_in_the_order_of_processes():
    got = as_processes(lambda rank: gather(torch.full((rank + 1, 2), float(rank))), 3)
    for whole in got:
        assert whole[:, 0].tolist() == [0, 1, 1, 2, 2, 2]


def test_one_process_gathers_nothing():
    local = torch.ones(2, 3)
    assert gather(local) is local


def _one_process(rank, world, folder, micro):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    batch = [values.split([3, 4])[rank] for values in rows(7)]
    model = nn.parallel.DistributedDataParallel(Steps(copy.deepcopy(START), micro))
    loss = model(*batch)
    torch.testing.assert_close(grads_of(model, loss), whole_batch(7))
    distributed.destroy_process_group()


class Steps(nn.Module):
    def __init__(self, pair, micro):
        super().__init__()
        self.pair, self.micro = pair, micro

    def forward(self, text, video):
        encoded = encode_in_parts(self.pair.encode, (text, video), self.micro)
        return self.pair.loss(*(gather(features) for features in encoded))


@pytest.mark.slow
@pytest.mark.parametrize("micro", [None, 2])
def test_two_real_processes(tmp_path, micro):
    spawn(_one_process, (2, str(tmp_path), micro), nprocs=2)


@pytest.mark.parametrize("micro", [1, 3, 4, 100])
def test_parts_have_the_loss_and_gradient_of_the_whole(micro):
    model = copy.deepcopy(START)
    loss = cached_step(model.encode, model.loss, rows(10), micro)
    torch.testing.assert_close(loss, model.loss(*model.encode(*rows(10))))
    torch.testing.assert_close(grads_of(model, loss), whole_batch(10))


def test_a_part_is_encoded_again_in_the_same_random_state():
    model, seen = copy.deepcopy(START), []

    def encode(text, video):
        text = nn.functional.dropout(text)
        seen.append(text.clone())
        return model.encode(text, video)

    grads_of(model, cached_step(encode, model.loss, rows(6), 2))
    assert len(seen) == 6
    for first, again in zip(seen[:3], seen[:2:-1], strict=True):  # the last part comes back first
        assert torch.equal(first, again)


def test_one_part_at_a_time_is_inside_the_encoder():
    """On the way back a part is encoded, and done with, before the next one is."""
    model, events = copy.deepcopy(START), []

    def encode(text, video):
        events.append("entered")
        text = text.clone().requires_grad_()
        text.register_hook(lambda _: events.append("left"))
        return model.encode(text, video)

    grads_of(model, cached_step(encode, model.loss, rows(6), 2))
    assert events[:3] == ["entered"] * 3
    assert len(events) == 9
    assert events[3:] == ["entered", "left"] * 3


def test_gathering_and_parts_go_together():
    batches = list(zip(*(values.split([4, 3]) for values in rows(7)), strict=True))

    def share(rank):
        model = copy.deepcopy(START)
        loss = cached_step(
            model.encode, lambda *all_: model.loss(*(gather(x) for x in all_)), batches[rank], 2
        )
        return grads_of(model, loss)

    shares = as_processes(share, 2)
    mean = [torch.stack(grads).mean(dim=0) for grads in zip(*shares, strict=True)]
    torch.testing.assert_close(mean, whole_batch(7))
