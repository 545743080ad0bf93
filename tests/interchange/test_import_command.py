"""`tdw import`, `tdw export` and what `tdw info` says afterwards, as people type them; and files that say it wrongly."""

import json

import numpy as np
import pytest
import torch

import tdw
from tdw.cli import main
from tdw.errors import NotAProjectError
from tdw.project.project import Project
from tdw.project.writer import ProjectWriter
from tests.interchange import elsewhere


def typed(capsys, *arguments):
    code = main.main([str(item) for item in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_import_info_train_export(tmp_path, capsys):
    trainer = elsewhere.nanda()
    source = elsewhere.saved(
        trainer.final() | {"config": trainer.config | {"weight_decay": 1.0}}, tmp_path / "final.pth"
    )
    run = tmp_path / "run.tdw"
    code, out, _ = typed(capsys, "import", source, run)
    assert code == 0
    first, *more = out.splitlines()
    assert first.startswith(
        f"{run}: imported from final.pth, a file of Nanda's grokking code; 60 of 121 pairs for training, seed 3"
    )
    assert "contradictions: 1; unknown: model_seed." in first
    assert any(line.startswith("contradicted: the config says weight_decay 1") for line in more)

    code, out, _ = typed(capsys, "info", run)
    assert code == 0
    assert "imported from final.pth: a file of Nanda's grokking code" in out
    assert "inferred: the split is drawn by Python's random.seed(s)" in out
    assert "converted: train loss i of the source" in out
    assert "unknown: model_seed" in out
    assert "accuracy" not in out
    _, out, _ = typed(capsys, "info", run, "--json")
    assert json.loads(out)["imported"]["split"]["seed"] == 3

    assert typed(capsys, "train", run, "--epochs", 125)[0] == 0
    assert typed(capsys, "verify", run)[0] == 0
    code, out, _ = typed(capsys, "export", run, tmp_path / "all", "--as", "transformer-lens")
    assert (code, out) == (0, f"{tmp_path / 'all'}: 2 checkpoints written.\n")
    assert typed(capsys, "export", run, tmp_path / "one.pt", "--as", "transformer-lens", "--epoch", 120)[0] == 0
    state = torch.load(tmp_path / "one.pt", weights_only=True)
    assert torch.equal(state["embed.W_E"], trainer.model.state_dict()["embed.W_E"].T)


def test_refusals_are_one_line(tmp_path, capsys):
    (tmp_path / "x\x1b[31m.pth").write_text("hello")
    code, out, err = typed(capsys, "import", tmp_path / "x\x1b[31m.pth", tmp_path / "run.tdw")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "looks like text" in err
    assert "\x1b" not in err
    code, _, err = typed(capsys, "import", tmp_path / "y.pth", tmp_path / "run.tdw", "--p", "many")
    assert (code, err.startswith("tdw: --p must be an integer from 2 to 1000 (got many)")) == (2, True)
    assert len(list(tmp_path.iterdir())) == 1


def test_text_from_a_file_is_shown_and_never_obeyed(tmp_path, capsys):
    trainer = elsewhere.nanda()
    folder = tmp_path / "a\x1b[2J\u202eb"
    folder.mkdir()
    elsewhere.saved(trainer.final() | {"config": {"fn_name": "add\x1b[31m\nFAKE"}}, folder / "x.pth")
    _, out, err = typed(capsys, "import", folder / "x.pth", tmp_path / "run.tdw")
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    assert (out + err).count("\n") == 1
    elsewhere.saved(trainer.final(), folder / "y\x1b[31m.pth")
    typed(capsys, "import", folder / "y\x1b[31m.pth", tmp_path / "run.tdw")
    _, out, _ = typed(capsys, "info", tmp_path / "run.tdw")
    assert "imported from y␛[31m.pth" in out


def test_importing_curves_alone_lists_unknown_settings(tmp_path, capsys):
    trainer = elsewhere.nanda()
    source = elsewhere.saved(
        {"train_losses": trainer.train_losses, "test_losses": trainer.test_losses}, tmp_path / "c.pth"
    )
    assert typed(capsys, "import", source, tmp_path / "run.tdw")[0] == 0
    _, out, _ = typed(capsys, "info", tmp_path / "run.tdw")
    second = out.splitlines()[1]
    assert "task unknown p unknown" in second
    assert "network unknown" in second
    assert "lr unknown" in second
    assert "train/test split: unknown" in out
    assert "113" not in second


def test_an_imported_run_is_recovered_with_its_origin(tmp_path):
    trainer = elsewhere.nanda()
    imported = tdw.import_run(elsewhere.saved(elsewhere.many(trainer), tmp_path / "x.pth"), tmp_path / "run.tdw")
    data = bytearray((tmp_path / "run.tdw").read_bytes())
    with tdw.open(tmp_path / "run.tdw") as run:
        needle = run.weights(41)["embed.W_E"].tobytes()
        kept = run.checkpoints
    data[data.find(needle) + 5] ^= 0xFF
    (tmp_path / "bad.tdw").write_bytes(data)
    lost = tdw.recover(tmp_path / "bad.tdw", tmp_path / "saved.tdw")
    assert len(lost) == 1
    with tdw.open(tmp_path / "saved.tdw") as run:
        assert run.imported == imported
        assert run.checkpoints == [epoch for epoch in kept if epoch != 41]
        assert run.known_split.train.tolist() == trainer.train.tolist()


WRONG = [
    {"source": 4},
    {"form": None},
    {"inferred": "a lot"},
    {"converted": [3]},
    {"unknown": None},
    {"resumable": "yes"},
    {"why_not": ["no"]},
    {"split": "some"},
    {"split": {"rule": 4}},
    {"split": {"rule": "r", "seed": "x", "fraction": 0.5, "train": 1, "test": 1, "error": None, "chance": None}},
    {"split": {"rule": "r", "seed": None, "fraction": 0.5, "train": None, "test": 1, "error": None, "chance": None}},
]


@pytest.mark.parametrize("wrong", range(len(WRONG)))
def test_a_stranger_who_says_it_wrongly_is_refused(tmp_path, monkeypatch, wrong):
    path = tmp_path / "run.tdw"
    imported = tdw.import_run(elsewhere.saved(elsewhere.lens().state(), tmp_path / "x.pt"), tmp_path / "good.tdw")
    with tdw.open(tmp_path / "good.tdw") as run:
        settings, split = run.config, run.split
    said = imported.to_json() | WRONG[wrong]
    with ProjectWriter.create_imported(path, settings, [], split, imported) as writer:
        writer._writer.extend(config=writer.described | {"imported": said}, epochs=1, checkpoint_capacity=1)
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another user"))
    with pytest.raises(NotAProjectError, match="the description of its import is invalid"):
        Project.open(path)
    with Project.open(tmp_path / "good.tdw") as run:
        assert run.imported == imported


def test_many_checkpoints_take_no_more_memory_than_a_few(tmp_path):
    """Of a file of 70 MB no more than some checkpoints are in memory at a time."""
    import subprocess
    import sys

    state = {name: tensor.clone() for name, tensor in elsewhere.lens(p=59, d=64, heads=4, d_mlp=256).state().items()}
    peaks = {}
    for count in (4, 300):
        states = [{**state, "embed.W_E": state["embed.W_E"] + i} for i in range(count)]
        states = [{name: tensor.clone() for name, tensor in each.items()} for each in states]
        theirs = {
            "state_dicts": states,
            "epochs": list(range(count)),
            "train_losses": [1.0] * count,
            "test_losses": [1.0] * count,
        }
        source = elsewhere.saved(theirs, tmp_path / f"{count}.pth")
        program = (
            "import sys, tdw; tdw.import_run(sys.argv[1], sys.argv[2]);"
            "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('RssAnon')][0])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, source, tmp_path / f"{count}.tdw"],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[count] = int(done.stdout)
        size = source.stat().st_size
        source.unlink()
    assert size > 65e6
    # Kilobytes of its own; pages of the mapped file are the system's to drop. All in memory would be 70 000 more, and what
    # allocators keep has been up to 51 000.
    assert peaks[300] - peaks[4] < 60_000
    with tdw.open(tmp_path / "300.tdw") as run:
        assert len(run.checkpoints) == 300
        assert np.array_equal(run.weights(200)["embed.W_E"], (state["embed.W_E"] + 199).numpy())
