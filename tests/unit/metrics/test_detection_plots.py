import numpy as np
import pytest

from tests.unit.metrics.worlds import make_world
from video_adapt.metrics import (
    calibrate,
    detection_map,
    error_profile,
    match_detections,
    operating_curve,
    plot_class_ap,
    plot_error_profile,
    plot_false_alarms,
    plot_precision_recall,
    save_figure,
)

NAMES = ["up", "down", "a class whose name is far too long for any picture"]


@pytest.fixture
def world():
    return make_world(0)


def texts(figure) -> list[str]:
    """Everything that is written beside the axes or in a legend."""
    axes = figure.axes[0]
    legend = axes.get_legend()
    entries = [] if legend is None else [entry.get_text() for entry in legend.get_texts()]
    ticks = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    written = [text.get_text() for text in axes.texts]
    return [axes.get_title(loc="left"), *entries, *ticks, *written]


def test_precision_and_recall_of_few_classes(world, tmp_path):
    matching = match_detections(*world)
    classes = [operating_curve(matching, 1.0, label) for label in range(3)]
    overall = operating_curve(matching, 1.0)
    figure = plot_precision_recall(overall, classes, NAMES)
    assert {"Precision and recall", "up", "down", "all classes"} < set(texts(figure))
    line = figure.axes[0].lines[-1]
    assert line.get_xdata()[-1] == overall.recall[-1]
    assert (np.diff(line.get_ydata()) <= 0).all()  # the envelope, whose area is the AP
    assert line.get_ydata()[0] == overall.precision.max()
    assert save_figure(figure, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_precision_and_recall_of_many_classes_name_the_extremes(world):
    detections, events = world
    label = np.arange(len(events.label)) % 10
    events = events._replace(label=label)
    detections = detections._replace(label=np.arange(len(detections.label)) % 10)
    matching = match_detections(detections, events)
    classes = [operating_curve(matching, 1.0, k) for k in range(10)]
    figure = plot_precision_recall(operating_curve(matching, 1.0), classes, list("abcdefghij"))
    assert len(figure.axes[0].get_legend().get_texts()) == 7
    assert len(figure.axes[0].lines) == 11
    assert "Precision and recall: best and worst of 10 classes" in texts(figure)


def test_classes_are_drawn_best_first_with_their_events(world):
    result = detection_map(*world, [0.3, 0.7])
    figure = plot_class_ap(result, NAMES)
    best = int(result.ap.mean(axis=1).argmax())
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == sorted(result.ap.mean(axis=1), reverse=True)
    words = texts(figure)
    assert f"mAP {100 * result.average_map:.1f} % at tIoU 0.3 to 0.7" in words
    assert words[-3] == f"{100 * result.ap[best].mean():.0f}"
    assert any(word.endswith(f"… ({result.num_events[2]})") for word in words)


def test_only_the_worst_of_many_classes_are_drawn(world):
    result = detection_map(*world, [0.5])
    figure = plot_class_ap(result, NAMES, most=2)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == sorted(result.ap[:, 0])[1::-1]
    assert texts(figure)[0].endswith("at tIoU 0.5; the 2 worst of 3 classes")


def test_error_shares_fill_each_bar_and_stop_where_detections_end(world):
    matching = match_detections(*world)  # 300 detections, 60 events
    figure = plot_error_profile(error_profile(matching, [1, 5, 6, 10]), [1, 5, 6, 10])
    bars = figure.axes[0].containers
    assert len(bars) == 6
    assert sum(bar[1].get_height() for bar in bars) == pytest.approx(1.0)
    assert bars[0][1].get_height() == pytest.approx((matching.found >= 0).mean())
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["1 G", "5 G"]


def test_false_alarms_mark_the_chosen_thresholds(world):
    matching = match_detections(*world)
    curve = operating_curve(matching, 2.0)
    calibration = calibrate(matching, 3, [0.1, 0.5, 0.7, 0.9])
    calibration["overall"][3] = None  # not reached
    figure = plot_false_alarms(curve, calibration)
    marks = [line.get_xydata()[0] for line in figure.axes[0].lines[1:]]
    points = [curve.at(calibration["overall"][k]) for k in (1, 2)]
    expected = [[point.false_alarms_per_hour, point.recall] for point in points]
    assert np.array(marks).tolist() == expected
    assert any(word.startswith("50 % precision: score ≥ ") for word in texts(figure))


def test_no_false_alarm_has_a_place_on_the_axis(world):
    _, events = world
    perfect = (
        world[0]
        .take(np.arange(60))
        ._replace(video_id=events.video_id, segments_s=events.segments_s, label=events.label)
    )
    matching = match_detections(perfect, events)
    figure = plot_false_alarms(operating_curve(matching, 2.0), calibrate(matching, 3))
    assert set(figure.axes[0].lines[0].get_xdata()) == {0.25}
