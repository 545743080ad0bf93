"""The command line, in a separate process."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time

import pytest

import tdw
from tdw import config, text_format
from tdw.cli import main
from tdw.errors import AlreadyExistsError
from tests.core.test_docs import commands

SMALL = ["--p", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "8", "--train-fraction", "0.5"]


def command(*arguments, **more):
    return subprocess.run([sys.executable, "-m", "tdw", *map(str, arguments)], capture_output=True, text=True, **more)


def test_new_train_analyze_info_verify(tmp_path):
    path = tmp_path / "run.tdw"
    made = command("new", path, *SMALL, "--epochs", 30, "--checkpoints", "0:30:10")
    assert made.returncode == 0, made.stderr
    assert "4 checkpoints" in made.stdout
    assert " MB" in made.stdout
    assert "of training on this machine" in made.stdout
    information = json.loads(command("info", path, "--json").stdout)
    assert (information["state"], information["epochs"], information["checkpoints"]) == ("new", 0, [])

    trained = command("train", path)
    assert trained.returncode == 0, trained.stderr
    assert "30 of 30 epochs, 4 checkpoints stored" in trained.stdout
    assert "not reached" in trained.stdout

    assert command("train", path, "--epochs", 40).returncode == 0
    analyzed = command("analyze", path, "--only", "events", "embedding_frequencies")
    assert "embedding_frequencies, events stored" in analyzed.stdout.replace(
        "events, embedding_frequencies", "embedding_frequencies, events"
    )
    information = json.loads(command("info", path, "--json").stdout)
    assert {
        "path", "format", "id", "state", "epochs", "planned_epochs", "checkpoints", "train_loss", "test_loss",
        "train_accuracy", "test_accuracy", "analyses", "events", "config", "size_bytes",
    } <= information.keys()  # fmt: skip
    assert (information["state"], information["epochs"], information["planned_epochs"]) == ("finished", 40, 40)
    assert information["checkpoints"] == [0, 10, 20, 30, 40]
    assert information["config"]["p"] == 7
    assert information["size_bytes"] == path.stat().st_size
    assert information["analyses"]["embedding_frequencies"] == {
        "version": 1, "parameters": {}, "checkpoints": [0, 10, 20, 30, 40], "stale": False,
    }  # fmt: skip
    assert "finished, 40 of 40 epochs" in command("info", path).stdout
    assert command("verify", path).returncode == 0


def test_train_creates_a_missing_file(tmp_path):
    path = tmp_path / "run.tdw"
    done = command("train", path, *SMALL, "--epochs", 5, "--checkpoints", "")
    assert done.returncode == 0
    assert done.stdout.startswith(
        f"{path} did not exist: created with the given and otherwise the default settings: 5 epochs, 2 checkpoints, "
    )
    with tdw.open(path) as run:
        assert run.checkpoints == [0, 5]


def test_train_says_first_that_a_missing_file_gets_the_default_settings(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "tdw", "train", "run.tdw", "--new"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    assert first.startswith("run.tdw did not exist: created with the default settings: 25\u202f000 epochs, ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "x.tdw", "--p", "1"], "--p must be an integer from 2 to 1000 (got 1)"),
        (
            ["new", "x.tdw", "--train-fraction", "1.5"],
            "--train-fraction must be a number greater than 0 and less than 1 (got 1.5)",
        ),
        (["new", "x.tdw", "--checkpoints", "0:9:x"], "invalid checkpoint schedule '0:9:x'"),
        (["new", "x.tdw", "--frequency", "3"], "unrecognized arguments: --frequency 3; see `tdw new --help`"),
        (["--frob", "info", "there.tdw"], "unrecognized arguments: --frob; see `tdw --help`"),
        (["new", "missing/x.tdw"], "missing"),
        (["new", "there.tdw"], "there.tdw"),
        (["train", "there.tdw"], "there.tdw"),
        (["info", "nothing.tdw"], "nothing.tdw"),
        (["open", "there.tdw", "--no-browser"], "there.tdw"),
        (["analyze", "nothing.tdw", "--only", "evnts"], "did you mean 'events'"),
        (["demo", "there.tdw", "--no-open"], "there.tdw"),
        (["new", ""], "argument FILE: a file name is needed (got an empty one); see `tdw new --help`"),
        (["copy", "there.tdw", ""], "argument NEW: a file name is needed (got an empty one); see `tdw copy --help`"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
)
def test_an_error_is_one_line_and_changes_nothing(arguments, sentence, tmp_path):
    (tmp_path / "there.tdw").write_text("not a project")
    refused = command(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("tdw: ")
    assert [item.name for item in tmp_path.iterdir()] == ["there.tdw"]
    assert (tmp_path / "there.tdw").read_text() == "not a project"


@pytest.mark.parametrize(
    "line",
    [
        ["new", "there.tdw"], ["copy", "run.tdw", "there.tdw"], ["recover", "run.tdw", "there.tdw"],
        ["branch", "run.tdw", "there.tdw", "--at", "20"], ["import", "run.pt", "there.tdw", "--task", "add"],
        ["export", "run.tdw", "run.pt", "--as", "transformer-lens"],
    ],
    ids=lambda line: line[0],
)  # fmt: skip
def test_force_is_suggested_by_the_commands_that_have_it(line, tiny_run, tmp_path, monkeypatch, capsys):
    tdw.copy(tiny_run, tmp_path / "run.tdw")
    tdw.export_run(tiny_run, tmp_path / "run.pt")
    (tmp_path / "there.tdw").touch()
    monkeypatch.chdir(tmp_path)
    assert main.main(line) == 2
    said, name = capsys.readouterr().err, "run.pt" if line[0] == "export" else "there.tdw"
    has_force = any("--force" in action.option_strings for action in commands()[line[0]]._actions)
    assert said == f"tdw: {name} already exists: use another name{', or --force to replace it' * has_force}.\n"
    assert has_force == (line[0] in {"new", "import", "export"})


def test_python_is_told_of_overwrite_where_a_function_has_it(tiny_run, tmp_path):
    (tmp_path / "there.tdw").touch()
    with pytest.raises(AlreadyExistsError, match=r"there\.tdw already exists: use another name, or overwrite=True"):
        tdw.new(tmp_path / "there.tdw", p=7)
    for taken in (
        lambda: tdw.copy(tiny_run, tmp_path / "there.tdw"),
        lambda: tdw.recover(tiny_run, tmp_path / "there.tdw"),
    ):
        with pytest.raises(AlreadyExistsError, match=r"there\.tdw already exists: use another name\.$"):
            taken()


def test_ctrl_c_stores_what_is_done_and_ends_with_130(tmp_path):
    path = tmp_path / "run.tdw"
    command("new", path, *SMALL, "--epochs", 100_000, "--checkpoints", "even:5")
    process = subprocess.Popen(
        [sys.executable, "-m", "tdw", "train", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with tdw.open(path) as run:
        while not len(run.epochs):
            run.refresh()
            assert process.poll() is None
            time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130
    assert errors == ""
    assert "Stopped; resume with `tdw train" in output
    with tdw.open(path) as run:
        assert run.state == "unfinished"
        assert run.verify() == []
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def test_a_terminal_gets_a_bar(tmp_path):
    path = tmp_path / "run.tdw"
    command("new", path, *SMALL, "--epochs", 20, "--checkpoints", "0:20:5")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "tdw", "train", path], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert "━".encode() in shown


def test_every_setting_has_its_flag_default_and_help():
    text = command("new", "--help").stdout
    flat = " ".join(text.split())
    for item in config.settings():
        assert f"{item.flag} " in text
        assert item.help in flat
        assert f"(default: {item.text})" in flat


def test_help_of_commands_on_existing_runs_tells_that_their_settings_are_kept():
    branch, train = (" ".join(command(name, "--help").stdout.split()) for name in ("branch", "train"))
    for item in config.settings():
        assert f"(default for a new file: {item.text})" in train
        if item.group == "training" and not item.kinds:
            assert f"{item.help} (default: as in FILE)" in branch
    assert "SGD momentum (default: as in FILE, or 0.9 if --optimizer changes)" in branch
    assert "(default: 2" not in branch
    assert "an existing file keeps its settings" in train


def test_help_needs_no_heavy_library():
    code = "import sys; from tdw.cli.parser import parser; parser().format_help(); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "tdw.cli.parser" in loaded
    assert not {"numpy", "torch", "h5py", "gradio", "rich", "jaxtyping"} & set(loaded)


def test_durations():
    assert [text_format.duration(s) for s in (0.2, 42, 600, 10_000)] == [
        "about 1 s",
        "about 42 s",
        "about 10 min",
        "about 2.8 h",
    ]


def settings_line(path, **given):
    settings = tdw.new(path, p=11, d_model=16, d_mlp=12, epochs=30, checkpoints="", overwrite=True, **given)
    line = command("info", path).stdout.splitlines()[1]
    return line, settings


def test_info_shows_every_setting_that_is_not_the_default(tmp_path):
    path = tmp_path / "run.tdw"
    line, _ = settings_line(path)
    assert line == (
        "add mod 11 · d_model 16 · 4 heads · d_mlp 12 · 30% of pairs in training · lr 0.001 · weight decay 1"
    )
    line, _ = settings_line(
        path, warmup=20, betas="0.8,0.9", evaluate_every=3, data_seed=5, model_seed=6, threads=1, device="cpu"
    )
    for words in (
        "warmup 20",
        "betas 0.8,0.9",
        "evaluate every 3",
        "data seed 5",
        "model seed 6",
        "threads 1",
        "device cpu",
    ):
        assert f" · {words}" in line
    line, _ = settings_line(path, optimizer="sgd", momentum=0.99)
    assert "sgd lr 0.001" in line
    assert "momentum 0.99" in line
    assert "momentum" not in settings_line(path, optimizer="sgd")[0]


def test_no_share_of_pairs_is_rounded_to_all_or_none(tmp_path):
    assert "99.9% of pairs in training" in settings_line(tmp_path / "run.tdw", train_fraction=0.999)[0]
    assert "30% of pairs" in settings_line(tmp_path / "run.tdw", train_fraction=0.3)[0]
    assert "33.33% of pairs" in settings_line(tmp_path / "run.tdw", train_fraction=0.3333)[0]


def test_a_mistyped_name_starts_no_run(tiny_run, tmp_path):
    shutil.copy(tiny_run, tmp_path / "myrun.tdw")
    for more in ([], ["--epochs", 30_000], ["--threads", 1, "--checkpoints", "even:3"]):
        refused = command("train", "my_run.tdw", *more, cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr == (
            "tdw: my_run.tdw does not exist: did you mean myrun.tdw? Start a new run with `tdw new my_run.tdw`, or add --new.\n"
        )
    refused = command("train", "other.tdw", cwd=tmp_path)
    assert (
        "other.tdw does not exist. Start a new run with `tdw new other.tdw`, or add --new or settings" in refused.stderr
    )
    assert not (tmp_path / "my_run.tdw").exists()
    assert command("train", "my_run.tdw", *SMALL, "--epochs", 5, "--checkpoints", "", cwd=tmp_path).returncode == 0
    assert (tmp_path / "my_run.tdw").exists()
