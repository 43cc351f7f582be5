import json

import pytest

from video_adapt.cli_words import spell_nulls

INSIDE = "--data.init_args.loader.short_side"
FILE = '--config={"data": {"init_args": {"loader": {"short_side": null}}}}'


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "-c", "x.yaml", "--print_config"], ["fit", "-c", "x.yaml", "--print_config"]),
        (["--run_dir=null_run", "--lr=1"], ["--run_dir=null_run", "--lr=1"]),
        (["--trainer.logger=null", "--ckpt_path=~"], ["--trainer.logger=null", "--ckpt_path=null"]),
        (["--trainer.logger", "null", "--lr=1"], ["--trainer.logger=null", "--lr=1"]),
        (["--seed_everything", "None"], ["--seed_everything=null"]),
        (["--data.init_args.train=None"], ["--data.init_args.train=null"]),
        ([f"{INSIDE}=null"], [FILE]),
        ([INSIDE, "None", "--overwrite"], [FILE, "--overwrite"]),
        (["--overwrite", "--x=1", "null"], ["--overwrite", "--x=1", "null"]),
    ],
)
def test_null_is_null(words, expected):
    assert spell_nulls(words) == expected


def test_a_line_of_a_file_holds_nothing_else():
    (word,) = spell_nulls(["--model.init_args.backbone.init_args.weights=null"])
    content = json.loads(word.removeprefix("--config="))
    assert content == {"model": {"init_args": {"backbone": {"init_args": {"weights": None}}}}}
