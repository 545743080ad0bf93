"""Zeros, infinities, NaN and epochs without a value stay four different things, from each form of recorded curves to what is
shown and printed.
"""

import json
import math

import h5py
import numpy as np
import pytest
import torch

import tdw
from tdw.cli import main
from tests.interchange.test_tables import trackio_database, wandb_file

# At step 4 nothing was recorded, at step 5 NaN.
TRAIN = {0: 2.0, 1: 0.0, 2: math.inf, 3: 1.0, 5: math.nan, 6: 0.5}
OTHER = {0: 1.0, 1: -math.inf, 2: math.nan, 6: math.nan}
ROWS = [
    {"step": step} | {n: c[step] for n, c in (("train_loss", TRAIN), ("norm", OTHER)) if step in c} for step in range(7)
]


def csv(path):
    text = ["step,train_loss,norm", *(f"{r['step']},{r.get('train_loss', '')},{r.get('norm', '')}" for r in ROWS)]
    path.write_text("\n".join(text))


def lines(path):
    path.write_text("\n".join(map(json.dumps, ROWS)))


def lists(path):
    columns = {name: [row.get(name) for row in ROWS] for name in ("step", "train_loss", "norm")}
    path.write_text(json.dumps(columns))


def dict_of_lists(path):
    """Lists have no place for what is missing: each has steps of its own only where all have the same."""
    steps = sorted(TRAIN)
    torch.save({"its": steps, "train_loss": [TRAIN[s] for s in steps], "norm": [OTHER.get(s) for s in steps]}, path)


def tensorboard(path):
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    out = writer.EventFileWriter(str(path))
    for tag, curve in (("train_loss", TRAIN), ("norm", OTHER)):
        for step, value in curve.items():
            out.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    out.close()


def wandb(path):
    """NaN and infinities are text in its JSON."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    records = []
    for row in ROWS:
        record = messages.Record()
        for name, value in row.items():
            item = record.history.item.add()
            item.key = name
            item.value_json = json.dumps(value).join('""') if not math.isfinite(value) else json.dumps(value)
        records.append(record.SerializeToString())
    wandb_file(path, records)


def trackio(path):
    """Its own writer stores "NaN" and "Infinity" as text."""
    as_text = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"}
    rows = [json.loads(json.dumps(row), parse_constant=as_text.get) for row in ROWS]
    trackio_database(path, {"a": [(row.pop("step"), row) for row in rows]})


FORMS = {
    "a.csv": csv,
    "a.jsonl": lines,
    "a.json": lists,
    "a.pt": dict_of_lists,
    "logs": tensorboard,
    "run-1.wandb": wandb,
    "a.db": trackio,
}


@pytest.fixture(params=FORMS)
def run(request, tmp_path):
    FORMS[request.param](tmp_path / request.param)
    tdw.import_run(tmp_path / request.param, tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        yield run


def check(run):
    for name, given in (("losses/train", TRAIN), ("curves/norm", OTHER)):
        assert np.flatnonzero(run.recorded(name)).tolist() == list(given)
        curve = run.curve(name)
        np.testing.assert_array_equal(curve, [given.get(epoch, math.nan) for epoch in range(7)])
    assert not run.recorded("losses/test").any()


def test_every_form_keeps_them(run):
    check(run)
    assert run.verify() == []


def test_everything_that_makes_a_file_of_a_run_keeps_them(tmp_path, monkeypatch):
    csv(tmp_path / "a.csv")
    path = tmp_path / "run.tdw"
    tdw.import_run(tmp_path / "a.csv", path)
    tdw.note(path, title="rebuilt")
    tdw.copy(path, tmp_path / "copied.tdw")
    tdw.recover(path, tmp_path / "recovered.tdw")
    with h5py.File(path) as file, h5py.File(tmp_path / "by another.tdw", "w") as other:
        other.attrs.update(file.attrs)
        for name in file:
            file.copy(name, other)
    tdw.recover(tmp_path / "by another.tdw", tmp_path / "again.tdw")
    for name in ("run", "copied", "recovered", "again"):
        with tdw.open(tmp_path / f"{name}.tdw") as run:
            check(run)


def test_the_bits_are_those_that_the_description_of_the_format_gives(tmp_path):
    csv(tmp_path / "a.csv")
    tdw.import_run(tmp_path / "a.csv", tmp_path / "run.tdw")
    with h5py.File(tmp_path / "run.tdw") as file:
        bits = file["losses/train"][:7].view("u8")
    assert [hex(bits[5]), hex(bits[4])] == ["0x7ff8000000000001", "0x7ff8000000000000"]


def test_figures_and_reports_tell_them_apart(tmp_path, capsys):
    path = tmp_path / "run.tdw"
    for end, last in ((6, 0.5), (5, "NaN"), (2, "Infinity"), (1, 0.0)):
        (tmp_path / "a.json").write_text(json.dumps([row for row in ROWS if row["step"] <= end]))
        tdw.import_run(tmp_path / "a.json", path, overwrite=True)
        assert main.main(["info", "--json", str(path)]) == 0
        assert json.loads(capsys.readouterr().out)["train_loss"] == last
        assert main.main(["info", str(path)]) == 0
        shown = {0.5: "0.5", "NaN": "NaN", "Infinity": "∞", 0.0: "0"}[last]
        assert f"train loss {shown}" in capsys.readouterr().out
        (row,) = tdw.runs(tmp_path).rows
        assert (str(row["train_loss"]), row["train_loss_at"]) == (str(float(last)), end)
        assert main.main(["runs", "--csv", str(tmp_path)]) == 0
        header, cells = (line.split(",") for line in capsys.readouterr().out.splitlines())
        cell = dict(zip(header, cells, strict=False))["train_loss"]
        assert cell == {"NaN": "nan", "Infinity": "inf"}.get(str(last), str(last))


def test_figures_name_them(run):
    figure = run.figure("loss")
    line = figure.data[0]
    assert list(line.x) == [0, 1, 2, 3, 5, 6]  # epoch 4 is no point, so the line goes on over it
    np.testing.assert_array_equal(line.y, [2, math.nan, math.nan, 1, math.nan, 0.5])
    marks = next(one for one in figure.data[1:] if one.mode == "lines+markers" and 5 in one.x)
    at = {x: (y, text) for x, y, text in zip(marks.x, marks.y, marks.customdata, strict=True) if x is not None}
    assert {epoch: text for epoch, (_, text) in at.items() if epoch in (1, 2, 5)} == {1: "0", 2: "∞", 5: "NaN"}
    assert at[1][0] < min(TRAIN[6], TRAIN[0])
    assert at[2][0] == at[5][0] > TRAIN[0]
    symbols = dict(zip(marks.x, marks.marker.symbol, strict=True))
    assert [symbols[epoch] for epoch in (1, 2, 5)] == ["triangle-down", "triangle-up", "x"]
    named = [one.text[0] for one in run.figure("loss", view="norm").data if one.text]
    assert any("NaN from epoch 2" in text for text in named)


def test_a_comparison_counts_nan_that_only_one_has(tmp_path):
    csv(tmp_path / "a.csv")
    tdw.import_run(tmp_path / "a.csv", tmp_path / "one.tdw")
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace("5,nan", "5,1"))
    tdw.import_run(tmp_path / "a.csv", tmp_path / "two.tdw")
    for other, differs, largest in (("one.tdw", None, 0), ("two.tdw", 5, math.inf)):
        found = tdw.compare(tmp_path / "one.tdw", tmp_path / other).against[0].curves[0]
        assert (found.epochs, found.differs, found.largest) == (6, differs, largest)
