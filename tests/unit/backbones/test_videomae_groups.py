import pytest
import torch

from video_adapt.backbones.videomae_groups import Groups, divide, group_chunks


@pytest.mark.parametrize(
    ("videos", "chunks", "most", "sizes", "owners"),
    [
        (1, 5, 2, [2, 2, 1], [0, 0, 0]),
        (2, 3, 2, [2, 1, 2, 1], [0, 0, 1, 1]),
        (2, 4, 2, [2, 2, 2, 2], [0, 0, 1, 1]),
        (5, 1, 2, [2, 2, 1], [None] * 3),
        (3, 2, 5, [4, 2], [None] * 2),
        (2, 3, 3, [3, 3], [None] * 2),
    ],
)
def test_a_group_holds_whole_videos_or_a_part_of_one(videos, chunks, most, sizes, owners):
    assert divide(videos, chunks, most) == (sizes, owners)


def test_groups_fit_the_device():
    chunks = torch.empty(2 * 6, 1)
    # 8 steps of 10 x 10 patches are 800 tokens a chunk; a processor takes 2048.
    groups = group_chunks(chunks, videos=2, steps=48, grid=(10, 10))
    assert groups.sizes == [2] * 6
    # A chunk that is more than enough goes alone.
    assert group_chunks(chunks, videos=2, steps=48, grid=(40, 40)).sizes == [1] * 12


def slow_neighbours(group, sizes, videos, reach):
    """Step by step, over a list of (video, group, step)."""
    steps = [(videos[g], g, i) for g, size in enumerate(sizes) for i in range(size)]
    inside = [place for place, step in enumerate(steps) if step[1] == group]
    around = [*range(inside[0] - reach, inside[0]), *range(inside[-1] + 1, inside[-1] + 1 + reach)]
    found = [p for p in around if 0 <= p < len(steps) and steps[p][0] == videos[group]]
    return [p for p in found if p < inside[0]], [p for p in found if p > inside[-1]]


@pytest.mark.parametrize("reach", [0, 1, 2, 5])
def test_neighbours_are_of_the_same_video(reach):
    sizes, videos = [2, 1, 2, 2, 1, 1, 2], [0, 0, 0, 1, 1, 1, 1]
    groups = Groups(sizes, videos, steps=5, patches=1)
    steps = list(torch.arange(sum(sizes)).split(sizes))
    for group in range(len(sizes)):
        found = [
            [int(step) for part in side for step in part]
            for side in groups.neighbours(group, steps, reach)
        ]
        assert found == [*slow_neighbours(group, sizes, videos, reach)]


def test_whole_videos_have_no_neighbours():
    groups = Groups([2, 2], [None, None], steps=2, patches=1)
    assert groups.neighbours(0, [torch.zeros(2), torch.zeros(2)], 1) == ([], [])


def test_steps_come_back_as_groups():
    groups = Groups([2, 1], [0, 0], steps=6, patches=3)
    stream = [torch.randn(2, 6, 4), torch.randn(1, 6, 4)]
    steps = groups.by_step(stream)
    assert torch.equal(steps[3], stream[0][1, 3:])
    for mine, given in zip(groups.by_group(steps, like=stream), stream, strict=True):
        assert torch.equal(mine, given)
    torch.testing.assert_close(groups.pool(stream[1])[1], stream[1][0, 3:].mean(0))
