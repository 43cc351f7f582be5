"""What is said of a wrong experiment file: the place, the cause, the mend."""

import pytest

from video_adapt.cli_messages import explain, explain_interpolation

OPTIONS = {"model", "data", "trainer", "trainer.max_epochs", "trainer.devices", "run_dir"}
CLASSES = {"DiST", "SegmentSampler"}


@pytest.fixture
def files(tmp_path):
    """An experiment that takes its data from a second file."""
    (tmp_path / "base.yaml").write_text("class_path: Data\ninit_args:\n  batchsize: 4\n")
    path = tmp_path / "x.yaml"
    path.write_text("# modle\nmodle:\n  class_path: DiTS\n  num_frames: eight\ndata: base.yaml\n")
    return path


@pytest.mark.parametrize(
    ("message", "line", "answer"),
    [
        (
            "Option 'modle.class_path' is not accepted",
            "x.yaml:2",
            "unknown key 'modle'; did you mean 'model'?",
        ),
        (
            "Expected a dot import path string: DiTS",
            "x.yaml:3",
            "there is no class 'DiTS'; did you mean 'DiST'?",
        ),
        (
            "Parser key \"num_frames\": Expected a <class 'int'>. Got value: eight",
            "x.yaml:4",
            "num_frames is 'eight'; expected int",
        ),
        ("Option 'batchsize' is not accepted", "base.yaml:3", "unknown key 'batchsize'"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(files, message, line, answer):
    said = explain(message, ["fit", "-c", str(files)], options=OPTIONS, classes=CLASSES)
    assert said == f"{files.parent}/{line}: {answer}"


@pytest.mark.parametrize("words", [["--config", "{}"], ["--config={}"]])
def test_files_are_found_however_they_are_given(files, words):
    words = [word.format(files) for word in words]
    said = explain("Option 'modle' is not accepted", words, options=OPTIONS, classes=CLASSES)
    assert said.startswith(f"{files}:2: ")


def explained(message, *words):
    return explain(message, ["fit", *words], options=OPTIONS, classes=CLASSES)


def test_a_mistake_on_the_command_line_is_named_with_its_option():
    said = explained("unrecognized arguments: --run_dri=3", "--run_dri=3")
    assert said == "--run_dri: unknown key 'run_dri'; did you mean 'run_dir'?"
    said = explained("Expected a dot import path string: DiTS", "--model.class_path=DiTS")
    assert said.startswith("--model.class_path: there is no class 'DiTS'")


@pytest.mark.parametrize(
    "message",
    [
        "Subcommand 'fit' does not accept option 'trainer.max_epoch'",
        "Group 'trainer' does not accept option 'max_epoch'",
    ],
)
def test_the_nearest_name_is_one_that_fits_in_that_place(message):
    assert explained(message) == "unknown key 'max_epoch'; did you mean 'max_epochs'?"
    assert "did you mean" not in explained(message.replace("trainer", "model"))


def test_of_several_types_that_were_tried_the_wanted_one_counts():
    said = explained(
        'Parser key "model": Does not validate against any of the Union subtypes Subtypes: [x]\n'
        "Errors:\n - Expected a dot import path string: DiTS\n - Expected a <class 'NoneType'>\n"
        "Given value: {}"
    )
    assert said == "there is no class 'DiTS'; did you mean 'DiST'?"


def test_choices_are_listed():
    said = explained(
        "Parser key \"head\": Expected a typing.Literal['text', 'linear']. Got value: txt"
    )
    assert said == "head is 'txt'; expected one of ['text', 'linear']"


def test_a_file_that_is_no_yaml_is_named_with_its_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: a\ndata: b: c\n")
    said = explained("Problems parsing config: mapping values", "-c", str(path))
    assert said.startswith(f"{path}:2: not valid YAML: ")


def test_a_file_that_another_names_and_that_is_not_there(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("trainer: ../nope.yaml\n")
    said = explained("Unable to load config '../nope.yaml' - no", "-c", str(path))
    assert said == f"{path}:1: ../nope.yaml: no such experiment file; check the path"


def test_a_command_without_an_experiment():
    said = explained("the following arguments are required: fit.model")
    assert said == "'model' is not given; name an experiment file that says it: -c FILE.yaml"


def test_an_unknown_complaint_is_passed_on_in_one_line():
    assert explained('Parser key "a.b": odd\n  thing') == "a.b: odd thing"


def test_an_environment_variable_that_is_not_set(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("data:\n  root: ${oc.env:KINETICS}\n")
    said = explain_interpolation(
        "KeyError: \"Environment variable 'KINETICS' not found\"\n    full_key: fit.data.root",
        ["fit", "-c", str(path)],
    )
    assert said.startswith(f"{path}:2: data.root: the environment variable KINETICS is not set; ")
    assert "KINETICS=... video-adapt fit" in said


def test_a_reference_that_leads_nowhere():
    said = explain_interpolation("Interpolation key 'x' not found\n    full_key: fit.data.root", [])
    assert said == (
        "data.root: Interpolation key 'x' not found; mend the ${...} in the experiment file"
    )
