import os
import signal
import subprocess
import sys
import threading

import pytest

from video_adapt.apps.comparison_processes import Processes

SAVES = (
    "import os, signal, sys, time\n"
    "for number in (signal.SIGTERM, signal.SIGUSR1):\n"
    "    signal.signal(number, lambda got, _: (print('saved on', got), sys.exit(75)))\n"
)
LASTS = "for _ in range(1000):\n    time.sleep(0.01)\n"


def start(processes, code, path, ended):
    """Run some Python in a thread that waits for it, and note what came of it."""

    def wait():
        with path.open("w") as file:
            try:
                ended.append(processes.run([sys.executable, "-c", code], file, os.environ))
            except KeyboardInterrupt:
                ended.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGUSR1, signal.SIGUSR1),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_a_signal_reaches_all_and_nothing_begins_any_more(tmp_path, sent, received):
    processes, ended = Processes(), []
    before = signal.getsignal(sent)
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    waits = SAVES + f"open({str(ready)!r}, 'w').close()\n"
    asks = SAVES + f"open({str(ready)!r}).read()\nos.kill({os.getpid()}, {sent:d})\n"
    with processes.stopped_by_signals():
        threads = [
            start(processes, code + LASTS, tmp_path / name, ended)
            for name, code in (("first", waits), ("second", asks))
        ]
        for thread in threads:
            thread.join()
    assert ended == ["stopped", "stopped"]
    for name in ("first", "second"):
        assert (tmp_path / name).read_text() == f"saved on {received:d}\n"
    assert signal.getsignal(sent) is before
    late = tmp_path / "late"
    with pytest.raises(KeyboardInterrupt):
        processes.run(["touch", str(late)], subprocess.DEVNULL, os.environ)
    assert not late.exists()


def test_a_process_ends_with_its_code(tmp_path):
    ended = []
    start(Processes(), "import sys; sys.exit(3)", tmp_path / "log", ended).join()
    assert ended == [3]
