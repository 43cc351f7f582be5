import torch
from torch.nn import functional as F

from video_adapt.detection.gtad_graph import GCNeXt, gather_neighbours, nearest_neighbours


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_neighbours_are_near_in_feature_space_not_in_time():
    x = torch.tensor([[[0.0, 5.0, 0.1, 5.2, 9.0]]])
    near = nearest_neighbours(x, 2)
    assert near[0].tolist() == [[0, 2], [1, 3], [2, 0], [3, 1], [4, 3]]


def test_neighbours_do_not_depend_on_autocast():
    x = 30 + features(2, 4, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = nearest_neighbours(x, 3)
    torch.testing.assert_close(rounded, nearest_neighbours(x, 3))


def test_gathered_features_are_those_of_the_neighbours():
    x = features(2, 3, 6)
    near = nearest_neighbours(x, 2)
    gathered = gather_neighbours(x, near)
    for b in range(2):
        for t in range(6):
            torch.testing.assert_close(gathered[b, :, t], x[b][:, near[b, t]])


def test_graph_layer_equals_convolutions_on_whole_edges():
    x = features(2, 8, 7)
    layer = GCNeXt(8, groups=2, neighbours=3)
    near = gather_neighbours(x, nearest_neighbours(x, 3))
    edges = torch.cat([near, x.unsqueeze(3).expand_as(near)], dim=1)  # [B, 2C, T, k]
    semantic = layer.semantic
    out = semantic.expand(F.relu(semantic.mix(F.relu(semantic.reduce(edges))))).amax(3)
    temporal = layer.temporal
    out = out + temporal.expand(F.relu(temporal.mix(F.relu(temporal.reduce(x)))))
    torch.testing.assert_close(layer(x), F.relu(out + x))
