from video_adapt.reports import bench_detect_memory
from video_adapt.reports.bench_detect_memory import DetectRow, measure, render


def test_memory_is_compared_with_that_of_the_shortest_file():
    rows = [
        DetectRow(10, 0.1, 0, 12.4, 400.0),
        DetectRow(60, 0.1, 7, 70.0, 410.0),
        DetectRow(10, 0.0, 90, 13.0, 500.0),
        DetectRow(60, 0.0, 99, 80.0, 600.0),
    ]
    lines = render(rows).splitlines()
    assert lines[2] == "| 10 min | 0.1 | 0 | 12 | 400 | 1.000 |"
    assert lines[3] == "| 60 min | 0.1 | 7 | 70 | 410 | 1.025 |"
    assert lines[5] == "| 60 min | 0 | 99 | 80 | 600 | 1.200 |"


def test_a_file_is_written_and_measured(tmp_path, monkeypatch):
    def measured_here(checkpoint, video, minutes, threshold):
        return measure(checkpoint, video, minutes, threshold)

    monkeypatch.setattr(bench_detect_memory, "_in_own_process", measured_here)
    kept_back, everything = bench_detect_memory.run(tmp_path, minutes=(1,), fps=1)
    assert (kept_back.minutes, kept_back.threshold, kept_back.segments) == (1, 0.1, 0)
    assert everything.segments > 100
    assert everything.megabytes > 100
