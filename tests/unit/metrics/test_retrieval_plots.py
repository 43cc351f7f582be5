import numpy as np
import torch

from video_adapt.metrics import (
    MatrixScores,
    bootstrap_intervals,
    plot_recall_curves,
    retrieval_recall,
    save_figure,
)


def figures_of(size=20, seed=0):
    sim = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return retrieval_recall(MatrixScores(sim + 2 * torch.eye(size)), torch.arange(size))


def test_the_curve_passes_through_the_recalls_and_bars_span_the_intervals():
    result = figures_of()
    axes = plot_recall_curves({"text to video": result.t2v, "video to text": result.v2t}).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 2]
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert len(curves) == 2
    for curve, figures in zip(curves, (result.t2v, result.v2t), strict=True):
        places, share = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
        for k, recall in figures.recall.items():
            assert share[places <= k][-1] == recall
        assert share[-1] == 100
    low, high = bootstrap_intervals(result.t2v)["R@1"]
    assert list(bars[0].get_ydata()) == [low, high]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0].startswith(f"text to video: SumR {result.t2v.sum_r:.1f}, median place ")


def test_a_perfect_search_can_be_drawn(tmp_path):
    perfect = retrieval_recall(MatrixScores(torch.eye(3)), torch.arange(3)).t2v
    figure = plot_recall_curves({"text to video": perfect})
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1"]
    assert save_figure(figure, tmp_path / "recall.png").stat().st_size > 1000
