"""The base-to-novel world: what is new in a novel class, and what its files say."""

import json
from itertools import combinations as pairs

import numpy as np
import pytest

from data_modules import OpenVocabularyDataModule, TestSet
from video_adapt.video.synthetic import MOTIONS as KNOWN
from video_adapt.video.synthetic_files import WorldSpec, write_world
from video_adapt.video.synthetic_vocabulary import MOTIONS, combinations, combined_scene

BASE, NOVEL = combinations(MOTIONS)


def test_novel_classes_are_new_triples_of_known_pairs():
    assert len(BASE) == len(NOVEL) == 24
    assert not set(BASE) & set(NOVEL)
    for columns in pairs(range(3), 2):
        assert {tuple(c[i] for i in columns) for c in NOVEL} == {
            tuple(c[i] for i in columns) for c in BASE
        }
    for column in range(3):
        assert {c[column] for c in NOVEL} == {c[column] for c in BASE}


@pytest.mark.parametrize("part", [BASE, NOVEL])
def test_motions_of_one_shape_differ_in_the_order_of_frames_alone(part):
    attributes = {}
    for known in part:
        attributes.setdefault(known[:2], []).append(KNOWN[known.motion])
    for motions in attributes.values():
        assert len({motion.attribute for motion in motions}) == 1
        assert {motion.order for motion in motions} == {"forward", "backward"}


def test_a_scene_shows_what_its_class_says():
    scene = combined_scene(np.random.default_rng(0), NOVEL[5], 20)
    (actor,) = scene.actors
    assert (actor.colour, actor.shape, actor.acts[0].motion) == NOVEL[5]
    assert scene.num_frames == 20


def test_lists_and_classes_are_read_by_the_data_module(tmp_path):
    root = tmp_path / "world"
    spec = WorldSpec("openvocab", train=24, val=48, seconds=0.25, size=16, fps=8)
    assert write_world(root, spec)
    assert not write_world(root, spec)
    classes = json.loads((root / "classes.json").read_text())
    assert classes["base"][0] == {
        "name": "red circle moves right",
        "entry": "Red circle moves right: A red circle that moves right",
    }
    data = OpenVocabularyDataModule(
        root,
        classes="classes.json",
        part="base",
        train="train.csv",
        val="val_base.csv",
        test_sets={
            "base": TestSet("val_base.csv"),
            "novel": TestSet("test_novel.csv", part="novel"),
        },
    )
    for manifest, part in [
        (data.manifest("train"), BASE),
        (data.test_manifest("base"), BASE),
        (data.test_manifest("novel"), NOVEL),
    ]:
        assert sorted(entry.label for entry in manifest.entries) == list(range(24))
        for entry in manifest.entries:
            assert f"/{part[entry.label].name.replace(' ', '_')}/" in entry.path
    assert spec.class_names == [known.name for known in (*BASE, *NOVEL)]
