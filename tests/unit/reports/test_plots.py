import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from video_adapt.metrics import plot_confusion
from video_adapt.reports.document import (
    Heading,
    Listing,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from video_adapt.reports.plots import bars, save_figure
from video_adapt.reports.sheets import SheetRow, plot_sheet


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def test_confusion_counts_are_written_into_cells():
    found = texts(plot_confusion(np.array([[3, 1], [0, 4]]), ["up", "down"]))
    assert {"3", "1", "4", "7 of 8 videos right"} <= set(found)
    assert "0" not in found


def test_of_many_classes_the_most_confused_are_drawn():
    confusion = np.diag(np.full(50, 9))
    confusion[7, 31] = 5
    names = [f"class {k}" for k in range(50)]
    found = texts(plot_confusion(confusion, names, most=2))
    assert {"class 7", "class 31"} <= set(found)
    assert "class 3" not in found


def test_bars_say_what_is_unknown():
    found = texts(bars(["one", "two"], {"seconds": [1234.0, None], "MB": [0.5, 20.0]}))
    assert {"1,234", "unknown", "0.5", "20.0", "one", "two", "seconds", "MB"} <= set(found)


@pytest.mark.parametrize(("label", "mark"), [(None, "60%"), ("up", "60% ✓"), ("down", "60% ✗")])
def test_sheet_marks_right_and_wrong_not_by_colour_alone(label, mark):
    frames = torch.zeros(3, 3, 24, 32, dtype=torch.uint8)
    scores = [("up", 0.6), ("down", 0.4)]
    figure = plot_sheet([SheetRow("v.mp4", "0 - 1 s", frames, [0.0, 0.5, 1.0], scores, label)])
    found = texts(figure)
    assert {"v.mp4", "0.5 s", mark, "40%"} <= set(found)
    assert ("is: down" in found) == (label == "down")


def test_sheet_of_a_long_video_stays_printable(tmp_path):
    row = SheetRow("v.mp4", "", torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [0.0], [("up", 1.0)])
    figure = plot_sheet([row] * 150)
    assert len(figure.axes) == 2 * 50


def test_figures_are_written_into_new_folders(tmp_path):
    path = save_figure(bars(["one"], {"seconds": [1.0]}), tmp_path / "new/folder/bars.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_document_escapes_what_would_break_it(tmp_path):
    parts = [
        Heading("<b>", 1),
        Paragraph("a & b"),
        Table(["x", "y"], [["a|b", "1\n2"]]),
        Listing("more", "<tag>"),
    ]
    html = to_html(parts)
    assert "<h1>&lt;b&gt;</h1>" in html
    assert "a &amp; b" in html
    assert "&lt;tag&gt;" in html
    assert "| a\\|b | 1 2 |" in to_markdown(parts, tmp_path)


def test_pictures_are_shown_at_the_size_they_were_drawn_for(tmp_path):
    path = save_figure(bars(["one"], {"seconds": [1.0]}), tmp_path / "bars.png")
    pixels = plt.imread(path).shape[1]
    assert f'<figure style="width: {pixels / 150:.2f}in">' in to_html([Picture(path, "x")])


def test_texts_are_read_from_the_left(tmp_path):
    parts = [Table(["x", "y"], [["1", "2"]]), Table(["x", "y"], [["a", "b"]], texts=True)]
    assert to_markdown(parts, tmp_path).splitlines()[1::4] == ["| --- | ---: |", "| --- | --- |"]
    assert to_html(parts).count('<table class="pairs">') == 1
    assert to_html(parts).count('<table class="texts">') == 1


def test_words_of_a_program_are_set_as_such():
    text = "made by `a <b>` and `c`"
    assert "<p>made by <code>a &lt;b&gt;</code> and <code>c</code></p>" in to_html(
        [Paragraph(text)]
    )


def test_tables_of_pairs_are_not_stretched():
    assert 'class="pairs"' in to_html([Table(["x", "y"], [["1", "2"]])])
    assert 'class="pairs"' not in to_html([Table(["x", "y", "z"], [["1", "2", "3"]])])
