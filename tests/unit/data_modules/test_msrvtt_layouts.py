"""Data sets differ in arguments alone: each layout, as it is handed around, in small."""

import json
from pathlib import Path
from typing import Any

from data_modules import MSRVTTDataModule


def _layout(root: Path, **files: Any) -> Path:
    """A folder of empty videos, ``v_a`` to ``v_c``, and lists, with ``__`` for a dot in names."""
    (root / "videos").mkdir()
    for name in "abc":
        (root / f"videos/v_{name}.mp4").touch()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (root / name.replace("__", ".")).write_text(text)
    return root


def test_layout_of_vatex(tmp_path: Path) -> None:
    sentences = [{"video_id": f"v_{n}", "caption": f"{n}{i}"} for i in range(2) for n in "abc"]
    root = _layout(
        tmp_path,
        VATEX_train__csv="video_id\nv_a\nv_b\n",
        VATEX_val__csv="video_id\nv_c\n",
        VATEX_data__json={"sentences": sentences},
    )
    module = MSRVTTDataModule(
        root, train="VATEX_train.csv", val="VATEX_val.csv", captions="VATEX_data.json"
    )
    assert module.captions("train") == ["a0", "a1", "b0", "b1"]
    assert module.captions("val") == ["c0", "c1"]


def test_layout_of_activitynet(tmp_path: Path) -> None:
    def video(name: str) -> dict[str, Any]:
        return {"duration": 7.2, "timestamps": [[0, 1], [1, 2]], "sentences": [f"{name}1.", "2."]}

    root = _layout(
        tmp_path,
        train_ids__json=["v_a", "v_b"],
        val_ids__json=["v_c"],
        train__json={name: video(name) for name in ("v_b", "v_a")},
        val_1__json={"v_c": video("v_c")},
    )
    module = MSRVTTDataModule(
        root,
        train="train_ids.json",
        val="val_ids.json",
        captions=["train.json", "val_1.json"],
        paragraph=True,
    )
    assert module.captions("train") == ["v_a1. 2.", "v_b1. 2."]
    assert module.captions("val") == ["v_c1. 2."]
    entry = module.manifest("val").entries[0]
    assert (entry.start_s, entry.end_s) == (0.0, 8.0)


def test_layout_of_didemo(tmp_path: Path) -> None:
    moments = [
        {"video": f"v_{name}.avi", "description": f"{name}{i}", "times": [[i, i]]}
        for i in range(2)
        for name in "ab"
    ]
    root = _layout(tmp_path, train_list__txt="v_b.avi\nv_a.avi\n", train_data__json=moments)
    module = MSRVTTDataModule(
        root, train="train_list.txt", captions="train_data.json", paragraph=True, until_s=31
    )
    assert module.captions("train") == ["b0 b1", "a0 a1"]
    assert [entry.end_s for entry in module.manifest("train").entries] == [31, 31]
    assert Path(module.manifest("train").entries[0].path).name == "v_b.mp4"
