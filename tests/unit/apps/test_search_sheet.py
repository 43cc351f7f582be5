import numpy as np
import pytest
import torch
from matplotlib import colors

from video_adapt.apps.search_model import Look
from video_adapt.apps.search_sheet import SheetHit, look_at, plot_hits
from video_adapt.apps.searcher import Hit
from video_adapt.errors import VideoDecodeError
from video_adapt.metrics.plots import BLUE, MUTED

HIT = Hit("/data/cats/sleep.mp4", 30.0, 60.0, 0.31234)


def look(weights, *, attentive=True, size=(24, 32)):
    count = len(weights)
    return Look(
        torch.arange(count).repeat_interleave(3).view(count, 3, 1, 1).expand(-1, -1, *size).byte(),
        30.0 + np.arange(count),
        torch.tensor(weights),
        attentive,
    )


def texts(figure):
    drawn = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text.get_text() for text in drawn]


def bars(axes):
    """Width over greatest width, and colour, of the bars that show shares."""
    drawn = [p for p in axes.patches if p.get_fill()][1::2]
    most = max(p.get_width() for p in drawn)
    return [p.get_width() / most for p in drawn], [p.get_facecolor() for p in drawn]


def framed(axes):
    return [p.get_visible() for p in axes.patches if not p.get_fill()]


def test_every_frame_shows_its_share():
    figure = plot_hits("a cat sleeps", [SheetHit(HIT, look([0.2, 0.5, 0.3]))])
    (axes,) = figure.axes
    assert len(axes.images) == 3
    assert bars(axes)[0] == pytest.approx([0.4, 1.0, 0.6])
    assert framed(axes) == [False, True, False]
    said = texts(figure)
    assert {"20%", "50%", "30%", "0:30.0", "0:31.0", "0:32.0"} <= set(said)
    assert "a cat sleeps" in said
    assert "1   cats/sleep.mp4" in said
    assert "0:30.0 – 1:00.0     score 0.312" in said
    assert any("share of each frame" in text for text in said)


def test_equal_shares_are_said_and_frame_nothing():
    figure = plot_hits("a cat", [SheetHit(HIT, look([0.5, 0.5], attentive=False))])
    assert "this student weights all frames the same" in texts(figure)
    assert framed(figure.axes[0]) == [False, False]
    shares, drawn = bars(figure.axes[0])
    assert shares == [1.0, 1.0]
    assert set(drawn) == {colors.to_rgba(MUTED)} != {colors.to_rgba(BLUE)}


def test_of_many_frames_those_that_count_most_are_drawn_in_the_order_of_time():
    weights = torch.ones(20)
    weights[[3, 5, 18]] = torch.tensor([9.0, 3.0, 5.0])
    weights[8] = 0.01
    figure = plot_hits("x", [SheetHit(HIT, look((weights / weights.sum()).tolist()))])
    levels = [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images]
    assert len(levels) == 12
    assert levels == sorted(levels)
    assert {3, 5, 18} < set(levels)
    assert 8 not in levels
    assert any("the 12 of 20 frames that count most" in text for text in texts(figure))


def test_frames_played_backwards_are_drawn_forwards():
    backwards = look([0.2, 0.8])
    backwards = backwards._replace(times_s=backwards.times_s[::-1].copy())
    figure = plot_hits("x", [SheetHit(HIT, backwards)])
    assert [int(image.get_array()[0, 0, 0]) for image in figure.axes[0].images] == [1, 0]


def test_frames_of_all_shapes_stay_within_the_row():
    for size in ((24, 32), (90, 160), (160, 90), (32, 32)):
        for count in (1, 4, 12):
            figure = plot_hits("x", [SheetHit(HIT, look([1 / count] * count, size=size))])
            (axes,) = figure.axes
            for image in axes.images:
                left, right, bottom, top = image.get_extent()
                assert axes.get_xlim()[0] <= left < right <= axes.get_xlim()[1] + 1e-6
                assert (right - left) / (top - bottom) == pytest.approx(size[1] / size[0])
                assert axes.get_ylim()[0] < bottom < top < axes.get_ylim()[1]


class Gone:
    def look(self, hit):
        raise VideoDecodeError(f"{hit.video}: no such file")


def test_a_video_that_is_gone_is_told():
    seen = look_at(Gone(), [HIT])
    assert seen == [SheetHit(HIT, None, "/data/cats/sleep.mp4: no such file")]
    figure = plot_hits("a cat sleeps", [*seen, SheetHit(HIT, look([1.0]))])
    assert "/data/cats/sleep.mp4: no such file" in texts(figure)
    assert [len(axes.images) for axes in figure.axes] == [0, 1]


def test_nothing_found_is_told():
    assert "nothing found" in texts(plot_hits("a unicorn", []))
