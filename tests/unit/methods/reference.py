"""DiST's branch once more: slow, by the book, channels first as in the paper's code."""

import torch
from torch.nn import functional as F


def gelu(x):
    return x * torch.sigmoid(1.702 * x)


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def mlp(w, name, x):
    return linear(w, f"{name}.down", gelu(linear(w, f"{name}.up", norm(w, f"{name}.norm", x))))


def conv3d(w, name, x, **settings):
    weight = w[f"{name}.weight"]
    weight = weight.unsqueeze(2) if weight.shape[2:] == (3, 3) else weight.unsqueeze(-1)
    return F.conv3d(x, weight, w[f"{name}.bias"], **settings)


def stem(w, video, patch):
    weight = w["temporal_stem.conv.weight"]  # [Ct, 3*p*p, k, 1]
    kernel = weight.squeeze(-1).unflatten(1, (3, patch, patch)).permute(0, 1, 4, 2, 3)
    padding = (kernel.shape[2] // 2, 0, 0)
    bias = w["temporal_stem.conv.bias"]
    return F.conv3d(video.transpose(1, 2), kernel, bias, stride=(1, patch, patch), padding=padding)


def temporal_block(w, name, x):
    """``[B, Ct, T, H, W]`` to the same."""
    y = norm(w, f"{name}.norm", x.movedim(1, -1)).movedim(-1, 1)
    time = w[f"{name}.temporal.weight"].shape[2] // 2
    y = gelu(conv3d(w, f"{name}.temporal", y, padding=(time, 0, 0)))
    return gelu(x + conv3d(w, f"{name}.spatial", y, padding=(0, 1, 1)))


def to_integration(w, name, x, ratio):
    y = conv3d(w, f"{name}.fuse", x, stride=(ratio, 1, 1))  # [B, Ci, Ts, H, W]
    y = y.flatten(3).permute(0, 2, 3, 1)
    token = w[f"{name}.cls_token"][None, :, None].expand(len(x), -1, -1, -1)
    return torch.cat([token, y], dim=2)


def to_temporal(w, name, tokens, x, ratio):
    y = linear(w, name, tokens[:, :, 1:]).permute(0, 3, 1, 2)  # [B, Ct, Ts, H*W]
    return y.repeat_interleave(ratio, dim=2).view_as(x)


def integration_net(w, name, tokens):
    y = linear(w, f"{name}.temporal_ffn.down", norm(w, f"{name}.temporal_ffn.norm", tokens))
    time = w[f"{name}.temporal_ffn.mix.weight"].shape[2] // 2
    y = conv3d(w, f"{name}.temporal_ffn.mix", y.movedim(-1, 1)[..., None], padding=(time, 0, 0))
    y = linear(w, f"{name}.temporal_ffn.up", gelu(y[..., 0].movedim(1, -1)))
    return mlp(w, f"{name}.ffn", tokens) + y


def query_layer(w, name, query, tokens, heads):
    """``query [B', C]`` and ``tokens [B', N, C]``."""
    q, z = norm(w, f"{name}.norm", query)[None], norm(w, f"{name}.norm", tokens).transpose(0, 1)
    weights = [w[f"{name}.attention.in_proj.{leaf}"] for leaf in ("weight", "bias")]
    out = [w[f"{name}.attention.out_proj.{leaf}"] for leaf in ("weight", "bias")]
    answer, _ = F.multi_head_attention_forward(
        q, z, z, q.shape[-1], heads, *weights, None, None, False, 0.0, *out, need_weights=False
    )
    query = query + answer[0]
    return query + mlp(w, f"{name}.mlp", query)


def network(w, video, features, *, patch, ratio, heads):
    """The whole branch from weights by our names."""
    x, residual, last = stem(w, video, patch), 0.0, len(features) - 1
    for i, feature in enumerate(features):
        x = temporal_block(w, f"temporal_blocks.{i}", x)
        tokens = linear(w, f"input_linears.{i}", feature) + residual
        fused = tokens + to_integration(w, f"temporal_to_integration.{i}", x, ratio)
        if i < last:
            x = x + to_temporal(w, f"integration_to_temporal.{i}", tokens, x, ratio)
        residual = integration_net(w, f"integration_nets.{i}", fused)
    tokens = fused + residual  # [B, Ts, N, Ci]
    b, kept = tokens.shape[:2]
    clip, frame = w["clip_query"].expand(b, -1), w["frame_query"].expand(b * kept, -1)
    rounds = {key.split(".")[1] for key in w if key.startswith("poolings.")}
    for i in range(len(rounds)):
        frame = query_layer(w, f"poolings.{i}.frame", frame, tokens.flatten(0, 1), heads)
        times = frame.unflatten(0, (b, kept)) + w[f"poolings.{i}.positional_embedding"]
        clip = query_layer(w, f"poolings.{i}.clip", clip, times, heads)
    clip = clip + linear(w, "class_linear", features[-1][:, :, 0].mean(1))
    return norm(w, "norm", clip) @ w["projection.weight"].T
