"""Curves that trackers and training loops recorded: which column is what, and at which epochs."""

import json
import sqlite3

import numpy as np
import pytest
import torch

import tdw
from tdw.errors import NotImportableError, SettingError
from tdw.interchange.columns import role
from tests.interchange import elsewhere

STEPS = list(range(0, 2000, 100))
TRAIN = [3 * 0.98**i for i in range(20)]
TEST = [3 * 0.99**i for i in range(20)]
NORM = [1 / (i + 1) for i in range(20)]
OTHER = "curves/grad_norm"


def imported(path, **hints):
    record = tdw.import_run(path, path.parent / "run.tdw", overwrite=True, **hints)
    return record, path.parent / "run.tdw"


def check(path, *, other=OTHER, tolerance=1e-12):
    """The two losses every 100 epochs, and another curve under its own name."""
    record, run_path = imported(path)
    assert record.assumed == []
    with tdw.open(run_path) as run:
        assert len(run.epochs) == 1901
        for curve, expected in ((run.train_loss, TRAIN), (run.test_loss, TEST), (run.curve(other), NORM)):
            assert np.flatnonzero(~np.isnan(curve)).tolist() == STEPS
            np.testing.assert_allclose(curve[STEPS], expected, rtol=tolerance)
        assert run.verify() == []
    return record


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train_loss", ("train", "loss")),
        ("Training Loss", ("train", "loss")),
        ("loss/validation", ("test", "loss")),
        ("val/acc", ("test", "accuracy")),
        ("eval_accuracy", ("test", "accuracy")),
        ("train_loss_epoch", ("train", "loss")),
        ("loss", ("train", "loss")),
        ("accuracy", None),
        ("train_loss_ratio", None),
        ("train_val_loss", None),
        ("lr", None),
    ],
)
def test_names_of_columns_say_what_they_hold(name, found):
    assert role(name) == found


@pytest.mark.parametrize(
    ("name", "header", "delimiter"),
    [
        ("curves.csv", ("step", "train_loss", "val_loss", "grad_norm"), ","),
        ("curves.tsv", ("Epoch", "Train Loss", "Test Loss", "grad_norm"), "\t"),
        ("curves.csv", ("trainer/global_step", "loss/train", "loss/val", "grad_norm"), ";"),
        ("export.csv", ("Step", "r1 - train_loss", "r1 - test_loss", "r1 - grad_norm"), ","),
    ],
)
def test_a_table_with_steps(tmp_path, name, header, delimiter):
    rows = zip(STEPS, TRAIN, TEST, NORM, strict=True)
    text = [delimiter.join(header), *(delimiter.join(map(repr, row)) for row in rows)]
    (tmp_path / name).write_text("\n".join(text))
    record = check(tmp_path / name)
    assert any(line.startswith("kept as curves") for line in record.converted)


def test_bounds_that_wandb_adds_are_left_out_and_several_runs_refused(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("Step,r - train_loss,r - train_loss__MIN,r - train_loss__MAX\n0,2,1,3\n10,1,0,2\n")
    _, run_path = imported(path)
    with tdw.open(run_path) as run:
        assert run.train_loss[[0, 10]].tolist() == [2, 1]
        assert run.curves == ("losses/train", "losses/test", "accuracy/train", "accuracy/test")
    path.write_text("Step,r1 - train_loss,r2 - train_loss\n0,2,1\n")
    with pytest.raises(NotImportableError, match="columns of several runs"):
        imported(path)


def test_one_curve_as_tensorboard_exports_it(tmp_path):
    path = tmp_path / "run-tb-tag-loss_train.csv"
    path.write_text("Wall time,Step,Value\n1.0,0,2.5\n2.0,50,1.5\n")
    _, run_path = imported(path)
    with tdw.open(run_path) as run:
        assert run.train_loss[[0, 50]].tolist() == [2.5, 1.5]


def test_lines_of_json_with_sides_apart(tmp_path):
    """Train values at each step, test values on lines of their own, infinity and NaN as W&B writes them."""
    path = tmp_path / "log.jsonl"
    lines = [{"step": s, "train": {"loss": t}, "grad_norm": n} for s, t, n in zip(STEPS, TRAIN, NORM, strict=True)]
    lines += [{"step": s, "val": {"loss": t}} for s, t in zip(STEPS, TEST, strict=True)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    check(path)
    path.write_text('{"step": 0, "train_loss": 1}\n{"step": 1, "train_loss": "NaN"}\n{"step": 2, "train_loss": 0.5}\n')
    _, run_path = imported(path)
    with tdw.open(run_path) as run:
        assert run.train_loss.tolist()[::2] == [1, 0.5]
        assert np.isnan(run.train_loss[1])


def test_the_log_of_hugging_faces_trainer(tmp_path):
    history = [
        {"loss": t, "grad_norm": n, "epoch": s / 7, "step": s} for s, t, n in zip(STEPS, TRAIN, NORM, strict=True)
    ]
    history += [{"eval_loss": t, "epoch": s / 7, "step": s} for s, t in zip(STEPS, TEST, strict=True)]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"global_step": 1900, "log_history": history, "best_metric": None}))
    check(path)


def test_lists_with_their_epochs_and_percent(tmp_path):
    path = tmp_path / "curves.json"
    stored = {
        "epochs": STEPS,
        "train_loss": TRAIN,
        "test_loss": TEST,
        "grad_norm": NORM,
        "val_acc": [5 * i for i in range(20)],
    }
    path.write_text(json.dumps(stored | {"lr": 0.003}))
    record = check(path)
    assert any("in percent" in line for line in record.converted)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.test_accuracy[1900] == pytest.approx(0.95)
        assert run.config.lr == 0.003


def test_the_epochs_of_rows_can_be_stated(tmp_path):
    path = tmp_path / "curves.json"
    path.write_text(json.dumps({"train_losses": TRAIN, "test_losses": TEST}))
    record, run_path = imported(path, train_stride="100")
    assert record.assumed == []
    with tdw.open(run_path) as run:
        for curve, expected in ((run.train_loss, TRAIN), (run.test_loss, TEST)):
            assert np.flatnonzero(~np.isnan(curve)).tolist() == STEPS
            assert curve[STEPS].tolist() == expected
    path.write_text(json.dumps({"train_losses": TRAIN, "test_losses": TEST[::5]}))
    _, run_path = imported(path, train_stride="10", test_stride="50")
    with tdw.open(run_path) as run:
        assert np.flatnonzero(~np.isnan(run.test_loss)).tolist() == [0, 50, 100, 150]


def test_hints_about_epochs_that_a_source_gives_are_refused(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("step,train_loss,test_loss\n0,2,2\n10,1,1\n")
    for hint in ("train_stride", "test_stride"):
        with pytest.raises(SettingError, match="gives the epochs of its losses"):
            imported(path, **{hint: 5})
    with pytest.raises(SettingError, match="holds one run: leave it out"):
        imported(path, run="a")


def test_an_event_file_of_tensorboard(tmp_path):
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    out = writer.EventFileWriter(str(tmp_path / "logs"))
    for step, *values in zip(STEPS, TRAIN, TEST, NORM, strict=True):
        for tag, value in zip(("loss/train", "loss/val", "grad_norm"), values, strict=True):
            out.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    out.close()
    (file,) = (tmp_path / "logs").iterdir()
    check(file, tolerance=1e-6)  # it stores float32
    check(tmp_path / "logs", tolerance=1e-6)
    cut = tmp_path / f"{file.name}.cut"
    cut.write_bytes(file.read_bytes()[:-30])  # as after a kill
    _, run_path = imported(cut)
    with tdw.open(run_path) as run:
        assert run.train_loss[1900] == pytest.approx(TRAIN[-1], rel=1e-6)


def wandb_file(path, records):
    """A log of LevelDB with these records, as the program writes it: blocks of 32 768 bytes, pieces of records in them."""
    import struct
    import zlib

    data = bytearray(b":W&B\x21\xbe\x00")
    for record in records:
        first, rest = True, record
        while True:
            room = 32_768 - len(data) % 32_768
            if room < 7:
                data += bytes(room)
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if first else 4) if not rest else 2 if first else 3
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
            if not rest:
                break
    path.write_bytes(bytes(data))


def test_an_offline_run_of_wandb(tmp_path):
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    records = []
    started = messages.Record()
    update = started.run.config.update.add()
    update.key, update.value_json = "lr", "0.003"
    long = started.run.config.update.add()
    long.key, long.value_json = "notes", json.dumps("x" * 100_000)  # over several blocks
    records.append(started.SerializeToString())
    for step, *values in zip(STEPS, TRAIN, TEST, NORM, strict=True):
        record = messages.Record()
        for keys, value in zip(
            (["train", "loss"], ["val", "loss"], ["grad_norm"], ["epoch"]), (*values, step), strict=True
        ):
            item = record.history.item.add()
            item.nested_key.extend(keys)
            item.value_json = json.dumps(value)
        records.append(record.SerializeToString())
    path = tmp_path / "run-1a2b.wandb"
    wandb_file(path, records)
    check(path)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.config.lr == 0.003
    path.write_bytes(path.read_bytes()[:-20])  # the last record is cut off, as after a kill
    _, run_path = imported(path)
    with tdw.open(run_path) as run:
        assert len(run.epochs) == 1801


def trackio_database(path, runs):
    """runs: by name, the steps and values that were logged."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_name TEXT, step INTEGER, metrics TEXT)")
    database.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name TEXT, config TEXT)")
    for name in runs:
        database.execute(
            "INSERT INTO configs (run_name, config) VALUES (?, ?)", (name, json.dumps({"lr": 0.003}).encode())
        )
        for step, values in runs[name]:
            metrics = json.dumps(values).encode()
            database.execute("INSERT INTO metrics (run_name, step, metrics) VALUES (?, ?, ?)", (name, step, metrics))
    database.commit()
    database.close()


def trackio_file(path, names):
    logged = [
        (step, dict(zip(("train_loss", "val_loss", "grad_norm"), values, strict=True)))
        for step, *values in zip(STEPS, TRAIN, TEST, NORM, strict=True)
    ]
    trackio_database(path, dict.fromkeys(names, logged))


def test_a_database_of_trackio(tmp_path):
    trackio_file(tmp_path / "grok.db", ["a"])
    check(tmp_path / "grok.db")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.config.lr == 0.003
    trackio_file(tmp_path / "two.db", ["a", "b"])
    with pytest.raises(NotImportableError, match=r"2 runs \(a, b\): choose one with --run"):
        imported(tmp_path / "two.db")
    with pytest.raises(SettingError, match=r"--run must be one of a, b \(got c\)"):
        imported(tmp_path / "two.db", run="c")
    imported(tmp_path / "two.db", run="b")


def test_a_tracker_whose_package_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb.proto.wandb_internal_pb2", None)
    wandb_file(tmp_path / "run-1.wandb", [b""])
    with pytest.raises(
        NotImportableError, match=r"needs the package wandb. Install it with `pip install \"tdw\[trackers\]\"`"
    ):
        imported(tmp_path / "run-1.wandb")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "it is empty: a table needs a line with the names of its columns"),
        ("a.csv", "step,lr\n1,2\n", r"no column with losses .*columns of numbers: lr"),
        ("a.csv", "step,train_loss\n-5,1\n", "step of a row must be from 0"),
        ("a.csv", "step,train_loss\n1e12,1\n", "step of a row must be from 0"),
        ("a.csv", "step,train_loss\n0,-1\n", "cross-entropy cannot be negative"),
        ("a.csv", "step,train_acc\n0,1\n1,250\n", "must be from 0 to 1, or in percent"),
        ("a.jsonl", '{"train_loss": 1}\n{', r"invalid or truncated JSON \(line 2\)"),
        ("a.jsonl", "[1]\n", "lines of JSON that are no objects"),
        ("a.json", "[]", "JSON without curves"),
        ("a.json", '{"train_loss": 1}', "no column with losses"),
        ("a.db", "SQLite format 3\x00 and no more", "trackio did not write"),
    ],
)
def test_tables_without_curves_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(NotImportableError, match=said):
        imported(tmp_path / name)
    assert not (tmp_path / "run.tdw").exists()


NUMBER = "which is not a number: give a number, NaN, Infinity, or nothing where no value was recorded"
PLAIN = "which is not a number: write numbers with a decimal point and without other separators, such as 1234.5"
NAMES = "must be the names of its columns, such as `step,train_loss,test_loss`"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "\n\n", "it is empty: a table needs"),
        ("a.jsonl", "\n", 'it is empty: it needs an object on each line, such as {"step": 0, "train_loss": 4.7}'),
        ("a.csv", "step,train_loss\n", "it has a header (step,train_loss) and no rows"),
        ("a.csv", "0,1\n1,2\n", f"its first line (0,1) {NAMES}"),
        ("a.csv", "step train_loss\n0 1\n", f"its first line (`step train_loss`) {NAMES}, separated by commas"),
        ("a.csv", "step,train_loss,train_loss\n0,1,2\n", "2 of its columns are named train_loss: give each a name"),
        ("a.csv", "step,train_loss\n\n0,1,2\n", "line 3 has 3 cells, and the header has 2 names"),
        ("a.csv", "step,train_loss,x\n0,1\n1,2,3\n", "line 2 has 2 cells, and the header has 3 names"),
        ("a.csv", "step,train_loss\n0,1\n\n1,abc\n", f"in its column train_loss, line 4 has `abc`, {NUMBER}"),
        ("a.csv", "step;train_loss\n0;1,5\n", f"in its column train_loss, line 2 has `1,5`, {PLAIN}"),
        ("a.csv", "step;train_loss\n0;1.234,5\n", f"line 2 has `1.234,5`, {PLAIN}"),
        ("a.csv", 'step,train_loss\n0,"1,234.5"\n', f"line 2 has `1,234.5`, {PLAIN}"),
        (
            "a.csv",
            "step,train_loss\n0.5,1\n1,2\n",
            "its column step has 0.5, which is not a whole number of updates, so no",
        ),
        (
            "a.csv",
            "step,train_loss\nx,1\n1,2\n",
            f"its column step is not a count of updates: line 2 has `x`, {NUMBER}, so",
        ),
        ("a.csv", "step,train_loss\n,1\n,2\n", "its column step has no numbers, so nothing tells the epochs"),
        ("a.csv", "train_loss,test_loss\n1,2\n2,3\n", "nothing in it tells the epochs of its 2 train losses"),
        ("a.jsonl", '\n{"step": 0, "train_loss": true}\n', f"in its column train_loss, line 2 has a bool, {NUMBER}"),
        ("a.jsonl", '{"step": 0, "train_loss": [1]}\n', f"in its column train_loss, line 1 has a list, {NUMBER}"),
        ("a.json", '[{"step": 0, "train_loss": "a"}]', f"in its column train_loss, object 1 has `a`, {NUMBER}"),
        ("a.json", '{"step": [0, 1], "train_loss": [1, "a"]}', f"in its column train_loss, value 2 is `a`, {NUMBER}"),
        ("a.json", '{"step": [0, 1, 2], "train_loss": [1, 2]}', "its column step has 3 values, train_loss has 2, so"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_place_and_what_to_do(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(NotImportableError) as refused:
        imported(tmp_path / name)
    assert said in str(refused.value)
    assert not (tmp_path / "run.tdw").exists()


@pytest.mark.parametrize(
    ("text", "epochs", "values", "said"),
    [
        ("\ufeffstep,train_loss\n0,1\n1,2\n", [0, 1], [1, 2], None),
        ("step,train_loss\r\n0,1\r\n1,2\r\n", [0, 1], [1, 2], None),
        ("step;train_loss\n0;1.5\n1;2\n", [0, 1], [1.5, 2], None),
        ("step,train_loss\n0,1\n1,NA\n2,\n3,-\n4,null\n5,2\n", [0, 5], [1, 2], None),
        ("step,train_loss,x\n0,1,2\n1,2\n", [0, 1], [1, 2], None),  # the last line is cut off, as after a kill
        ("step,train_loss\n0,1\n0,2\n1,3\n", [0, 1], [2, 3], "train_loss has more than one value at 1 step"),
        ("step,train_loss\n5,2\n0,1\n", [0, 5], [1, 2], "train_loss was put in the order of its steps"),
        ("step,train_loss\n0,1\n,7\n5,2\n", [0, 5], [1, 2], "1 value of train_loss without a step was left out"),
        ("step,train_loss,x\n0,1,2\n1,2,b\n", [0, 1], [1, 2], "of x what is not a number was left out: line 3 has `b`"),
        ("step,train_loss,name\n0,1,a\n1,2,b\n", [0, 1], [1, 2], None),
    ],
)
def test_what_a_table_may_have_is_taken_and_what_is_changed_is_said(tmp_path, text, epochs, values, said):
    (tmp_path / "a.csv").write_bytes(text.encode())
    record, path = imported(tmp_path / "a.csv")
    with tdw.open(path) as run:
        assert np.flatnonzero(run.recorded("losses/train")).tolist() == epochs
        assert run.train_loss[epochs].tolist() == values
    changed = [line for line in record.converted if not line.startswith("kept as curves")]
    assert [line.startswith(said or "") for line in changed] == ([] if said is None else [True])


def test_named_curves_are_kept_by_everything_that_makes_a_file_of_a_run(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("step,train_loss,grad_norm\n0,2,5\n3,1,4\n")
    _, run_path = imported(path)
    tdw.copy(run_path, tmp_path / "copy.tdw")
    tdw.recover(run_path, tmp_path / "recovered.tdw")
    for name in ("copy.tdw", "recovered.tdw"):
        with tdw.open(tmp_path / name) as run:
            assert run.curve(OTHER)[[0, 3]].tolist() == [5, 4]


def grokfast(path, weights, **changed):
    """A file as the code of Grokfast stores it."""
    values = {"it": torch.tensor(1), "its": [1, 10, 100], "train_loss": [2.5, 1.0, 0.1], "val_loss": [2.5, 2.4, 2.0]}
    values |= {"train_acc": [0.1, 0.6, 1.0], "val_acc": [0.1, 0.1, 0.3], "net_its": [1, 100], "net": weights}
    torch.save(values | changed, path)


def test_a_file_of_grokfast(tmp_path):
    states = [elsewhere.lens(seed=seed).state() for seed in (1, 2)]
    grokfast(tmp_path / "res_x.pt", states)
    _, run_path = imported(tmp_path / "res_x.pt")
    with tdw.open(run_path) as run:
        assert run.checkpoints == [1, 100]
        for epoch, state in zip((1, 100), states, strict=True):
            assert run.weights(epoch)["embed.W_E"].tobytes() == state["embed.W_E"].numpy().tobytes()
        assert run.train_loss[[1, 10, 100]].tolist() == [2.5, 1.0, 0.1]
        assert run.test_accuracy[[1, 10, 100]].tolist() == [0.1, 0.1, 0.3]
        assert np.isnan(run.test_loss).sum() == 98


def test_weights_of_another_network_leave_the_curves(tmp_path):
    grokfast(tmp_path / "res_x.pt", [{"layers.0.weight": torch.zeros(2, 2)}] * 2)
    record, run_path = imported(tmp_path / "res_x.pt")
    assert any(line.startswith("2 sets of weights were left out") for line in record.converted)
    with tdw.open(run_path) as run:
        assert run.checkpoints == []
        assert run.train_loss[100] == 0.1


def test_named_curves_are_drawn_with_loss_and_accuracy(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("step,train_loss,grad_norm\n0,2,5\n3,1,4\n")
    _, run_path = imported(path)
    with tdw.open(run_path) as run:
        figure = run.figure("loss", view="grad_norm")
        (line,) = figure.data
        assert list(zip(line.x, line.y, strict=True)) == [(0, 5), (3, 4)]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_of_curves_has_room_for_them_only_and_is_recovered(tmp_path, damaged, monkeypatch):
    path = tmp_path / "curves.csv"
    path.write_text("step,train_loss\n" + "".join(f"{i},{1 / (i + 1)}\n" for i in range(400)))
    _, run_path = imported(path)
    assert run_path.stat().st_size < 400_000
    if damaged:  # without what this computer remembers of it, nor a readable superblock
        monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "other"))
        data = bytearray(run_path.read_bytes())
        data[:64] = bytes(64)
        run_path.write_bytes(bytes(data))
    tdw.recover(run_path, tmp_path / "recovered.tdw")
    with tdw.open(tmp_path / "recovered.tdw") as run:
        assert run.train_loss.tolist() == [1 / (i + 1) for i in range(400)]


def test_weights_without_an_optimizer_have_no_room_for_a_state_to_resume(tmp_path):
    elsewhere.saved(elsewhere.lens(d=64, d_mlp=512).state(), tmp_path / "epoch_5.pt")
    _, run_path = imported(tmp_path / "epoch_5.pt")
    with tdw.open(run_path) as run:
        assert not run.imported.resumable
        size = 4 * sum(array.size for array in run.weights(5).values())
    assert run_path.stat().st_size < size + 300_000 < 2 * size
    tdw.analyze(run_path, only=["weight_norms"])
    tdw.note(run_path, title="still writable")
    assert tdw.verify(run_path) == []
