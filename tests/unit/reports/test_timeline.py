import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from tests.unit.video.numbered_videos import numbers, write_video
from video_adapt.errors import VideoDecodeError
from video_adapt.reports import timeline
from video_adapt.reports.detections import Detection
from video_adapt.reports.timeline import clock, draw_timeline, frames_in_strip, plot_timeline

FRAMES = torch.zeros(6, 3, 9, 16, dtype=torch.uint8)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bars(axes):
    """Left end, length, height and colour of the bars; the bands behind them are left out."""
    found = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_zorder() > 0]
    return [(p.get_x(), p.get_width(), p.get_height(), p.get_facecolor()[:3]) for p in found]


def plot(detections, truth=None, duration_s=10.0):
    figure = plot_timeline("v.mp4", FRAMES, duration_s, detections, truth)
    strip, rows = figure.axes
    return figure, strip, rows


def names(rows):
    return [label.get_text() for label in rows.get_yticklabels()]


def test_bars_lie_at_their_times_in_the_row_of_their_class():
    found = [Detection(6, 8, "late", 0.9), Detection(1, 4, "early", 0.5)]
    _, _, rows = plot(found)
    assert names(rows) == ["early", "late"]
    assert [bar[:2] for bar in bars(rows)] == [(1, 3), (6, 2)]
    assert {"0.90", "1 · 0.90", "0.50", "1 · 0.50"} <= set(texts(rows))
    assert rows.get_xlim() == (0, 10)


def test_without_frames_the_rows_alone_are_drawn():
    figure = plot_timeline("v.npy", None, 10.0, [Detection(1, 4, "early", 0.5)])
    (rows,) = figure.axes
    assert [bar[:2] for bar in bars(rows)] == [(1, 3)]
    assert figure.get_figheight() < plot([Detection(1, 4, "a", 0.5)])[0].get_figheight()


def test_the_higher_the_score_the_stronger_the_colour_and_best_on_top():
    _, _, rows = plot([Detection(1, 4, "a", 1.0), Detection(0, 9, "a", 0.5)])
    (*_, faint), (*_, strong) = bars(rows)
    assert strong == pytest.approx(to_rgb(timeline._COLORS[0]))
    assert faint == pytest.approx(tuple((1 + c) / 2 for c in strong))


def test_truth_is_dark_and_thin_above_the_detection():
    found, truth = [Detection(1, 4, "a", 0.9)], [Detection(2, 4, "a", 0.0), Detection(5, 6, "b", 1)]
    figure, _, rows = plot(found, truth)
    assert names(rows) == ["a", "b"]
    true, detected, missed = bars(rows)
    assert true[:2] == (2, 2)
    assert missed[:2] == (5, 1)
    assert true[3] == missed[3] == pytest.approx(to_rgb(timeline.INK))
    assert true[2] < detected[2] / 2
    assert "1 found · 2 true (dark)" in [text.get_text() for text in figure.texts]


def test_seconds_of_an_hour_are_seen():
    _, _, rows = plot([Detection(100, 102, "a", 0.9)], duration_s=3600)
    ((start_s, length_s, *_),) = bars(rows)
    assert start_s == 100
    assert length_s / 3600 * timeline._TIME == pytest.approx(timeline._NARROWEST)


def test_scores_are_written_where_they_can_be_read():
    found = [
        Detection(0, 5, "a", 0.9),
        Detection(1, 6, "a", 0.8),  # begins behind the first
        Detection(7, 9, "a", 0.05),  # too poor
        Detection(9.5, 9.6, "a", 0.7),  # too short
    ]
    assert texts(plot(found)[2]) == ["0.90", "4 · 0.90", "found · best"]


def test_of_many_classes_the_best_are_drawn():
    found = [Detection(k / 10, 5, f"class {k}", 1 - k / 100) for k in range(25)]
    figure, _, rows = plot(found)
    assert names(rows) == [f"class {k}" for k in range(20)]
    assert "25 found · the best 20 of 25 classes" in [text.get_text() for text in figure.texts]


def test_nothing_found_is_said():
    _, _, rows = plot([])
    assert texts(rows) == ["nothing found"]


@pytest.mark.parametrize("duration_s", [0.4, 2.4, 10, 59, 61, 599, 3599, 3600, 20000, 90000])
def test_times_are_few_and_different(duration_s):
    _, _, rows = plot([], duration_s=duration_s)
    labels = [label.get_text() for label in rows.get_xticklabels()]
    assert 3 <= len(labels) == len(set(labels)) <= 26


def test_clock_has_hours_and_tenths_where_needed():
    assert clock(75, 600, 15) == "01:15"
    assert clock(0.3, 2, 0.1) == "00:00.3"
    assert clock(3675, 4000, 600) == "1:01:15"


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 9 / 16])
def test_frames_fill_the_strip_at_their_own_shape(aspect):
    height = timeline._TIME / frames_in_strip(aspect) / aspect
    assert height == pytest.approx(timeline._STRIP, rel=0.15)


def test_the_strip_shows_the_middle_of_equal_parts(tmp_path):
    video = write_video(tmp_path / "v.mp4", range(40), rate=10)
    seen = {}

    def remember(title, frames, duration_s, *rest):
        seen.update(title=title, frames=frames, duration_s=duration_s)
        return plot_timeline(title, frames, duration_s, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "plot_timeline", remember)
        out = draw_timeline(video, [Detection(1, 2, "a", 0.5)], out=tmp_path / "new/v.png")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert seen["title"] == "v.mp4"
    assert seen["duration_s"] == pytest.approx(4.0)
    count = frames_in_strip(1.0)
    middles = ((np.arange(count) + 0.5) * 40 / count).astype(int)
    assert numbers(seen["frames"]) == middles.tolist()
    assert len(plot_timeline("", seen["frames"], 4.0, []).axes[0].images) == count


def test_a_missing_video_is_an_error(tmp_path):
    with pytest.raises(VideoDecodeError, match=r"none\.mp4"):
        draw_timeline(tmp_path / "none.mp4", [], out=tmp_path / "v.png")
