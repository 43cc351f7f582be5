from video_adapt.reports.detections import Detection, write_srt

JUMP = Detection(1.23456, 2.0, "jump, high", 0.98765432)
RUN = Detection(0.5, 4.0, "run", 0.25)


def cues(path):
    """Subtitles as (number, times, lines)."""
    blocks = path.read_text().rstrip("\n").split("\n\n")
    return [(int(n), times, lines) for n, times, *lines in map(str.splitlines, blocks)]


def test_subtitles_of_overlapping_detections_do_not_overlap(tmp_path):
    out = write_srt([RUN, JUMP], tmp_path / "new/video.srt")
    assert cues(out) == [
        (1, "00:00:00,500 --> 00:00:01,235", ["run 25%"]),
        (2, "00:00:01,235 --> 00:00:02,000", ["jump, high 99%", "run 25%"]),
        (3, "00:00:02,000 --> 00:00:04,000", ["run 25%"]),
    ]


def test_subtitles_leave_gaps_and_count_hours(tmp_path):
    late = Detection(3 * 3600 + 62.0005, 3 * 3600 + 63, "jump", 0.5)
    out = write_srt([late, RUN], tmp_path / "video.srt")
    assert [times for _, times, _ in cues(out)] == [
        "00:00:00,500 --> 00:00:04,000",
        "03:01:02,000 --> 03:01:03,000",
    ]


def test_a_label_is_shown_once_with_its_best_score(tmp_path):
    found = [Detection(0, 4, "run", 0.3), Detection(1, 3, "run", 0.9)]
    out = write_srt(found, tmp_path / "video.srt")
    assert [lines for *_, lines in cues(out)] == [["run 30%"], ["run 90%"], ["run 30%"]]


def test_equal_subtitles_in_a_row_become_one(tmp_path):
    found = [Detection(0, 2, "run", 0.3), Detection(2, 4, "run", 0.3)]
    out = write_srt(found, tmp_path / "video.srt")
    assert cues(out) == [(1, "00:00:00,000 --> 00:00:04,000", ["run 30%"])]


def test_only_the_best_labels_are_shown(tmp_path):
    found = [Detection(0, 1, f"class {k}", 0.1 * k) for k in range(5)]
    out = write_srt(found, tmp_path / "video.srt", most=2)
    assert cues(out)[0][2] == ["class 4 40%", "class 3 30%"]


def test_a_stretch_too_short_to_read_goes_to_its_neighbour(tmp_path):
    found = [Detection(0, 2, "run", 0.5), Detection(1.9, 3, "jump", 0.5)]
    out = write_srt(found, tmp_path / "video.srt")
    assert cues(out) == [
        (1, "00:00:00,000 --> 00:00:02,000", ["run 50%"]),
        (2, "00:00:02,000 --> 00:00:03,000", ["jump 50%"]),
    ]
    found = [Detection(0, 2, "run", 0.5), Detection(0.1, 2, "jump", 0.6)]
    out = write_srt(found, tmp_path / "video.srt")
    assert cues(out) == [(1, "00:00:00,000 --> 00:00:02,000", ["jump 60%", "run 50%"])]


def test_a_short_detection_on_its_own_is_shown(tmp_path):
    out = write_srt([Detection(1, 1.1, "blink", 0.5)], tmp_path / "video.srt")
    assert cues(out) == [(1, "00:00:01,000 --> 00:00:01,100", ["blink 50%"])]


def test_line_breaks_in_labels_do_not_break_the_file(tmp_path):
    out = write_srt([Detection(0, 1, "a\n\nb", 0.5)], tmp_path / "video.srt")
    assert cues(out)[0][2] == ["a b 50%"]


def test_nothing_found_is_an_empty_file(tmp_path):
    assert write_srt([], tmp_path / "video.srt").read_text() == ""
