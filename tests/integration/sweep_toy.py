"""A program that looks like a run to a sweep: it takes settings and writes a table of figures."""

import sys
import time
from pathlib import Path


def main(words) -> int:
    given = dict(word.removeprefix("--").split("=", 1) for word in words)
    if "wrong" in given:
        sys.stderr.write("video-adapt: error: unknown key 'wrong'\n")
        return 2
    folder, x = Path(given["run_dir"]), float(given["x"])
    if given.get("fails") == "True":
        sys.stderr.write("video-adapt: error: x is impossible\n")
        return 1
    if "stops" in given:
        return 75
    with (folder / "metrics.csv").open("w") as table:
        table.write("step,val/top1\n")
        for step in range(1, 4):
            table.write(f"{step},{step * x}\n")
            table.flush()
            time.sleep(float(given.get("wait", 0)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
