"""`tdw.runs`: rows equal `tdw info`, conditions, groups, and rows that are kept from last time."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw.analyses.engine import registry
from tdw.cli.main import main
from tdw.errors import AlreadyExistsError, TdwError
from tdw.statistics import index, rows, tables, where
from tests.statistics.conftest import old


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    """A private folder of its own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("TDW_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def folder(planted, tmp_path) -> Path:
    """Six runs in subfolders: three grokked, one memorized, one did nothing, one is new."""
    falling = np.where(np.arange(1001) < 100, 3.0, 0.01)
    flat = np.full(1001, 3.0)
    for seed, at in enumerate((300, 800, 2000, 500)):
        test = np.where(np.arange(1001) < at, 3.0, 0.01)
        test[np.arange(1001) % 10 != 0] = np.nan
        planted(f"runs/a/{seed}.tdw", falling, test, weight_decay=0.3 if seed < 2 else 1.0, model_seed=seed)
    planted("runs/b.tdw", flat, flat, weight_decay=1.0, lr=1e-2)
    tdw.create(
        tmp_path / "runs" / "new.tdw", tdw.configure(p=5, d_model=8, heads=2, d_mlp=8, epochs=20, checkpoints="")
    )
    tdw.note(tmp_path / "runs" / "b.tdw", tags=["paper", "flat"], title='flat, "line"', remark="two\nlines")
    old(tmp_path / "runs" / "new.tdw", tmp_path / "runs" / "b.tdw")
    return tmp_path / "runs"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are opened."""
    found = []
    read = rows.read
    monkeypatch.setattr(rows, "read", lambda path: (found.append(path.name), read(path))[1])
    return found


@pytest.fixture
def settled(monkeypatch):
    """The clock has gone on since the files changed (the time of the last change cannot be set)."""
    monkeypatch.setattr(index, "JUST_NOW", 0)


def names(found):
    return [path.name for path in found.paths]


def test_rows_say_what_info_says(folder):
    found = tdw.runs(folder)
    assert names(found) == ["0.tdw", "1.tdw", "2.tdw", "3.tdw", "b.tdw", "new.tdw"]
    for row in found:
        said = tdw.info(row["path"])
        events = {event["name"]: event["first"] for event in said["events"]}
        for name, first in events.items():
            assert (row[f"{name}_after"], row[name]) == (tuple(first) if first else (None, None)), name
        delay = said["grokking"]["delay"]
        assert (row["delay_min"], row["delay_max"]) == (tuple(delay) if delay else (None, None))
        assert row["grokking"] == said["grokking"]["verdict"]
        assert row["recorded_epochs"] == said["epochs"]
        assert row["stored_checkpoints"] == len(said["checkpoints"])
        for name in ("id", "title", "tags", "state", "train_loss", "test_loss", "size_bytes"):
            assert row[name] == said[name], name
        for name, value in said["config"].items():
            assert row[name] == (",".join(map(str, value)) if isinstance(value, list) else value), name
        assert tuple(row) == found.columns == rows.columns()
    assert [row["outcome"] for row in found] == [
        "generalized",
        "generalized",
        "memorized",
        "generalized",
        "not memorized",
        "new",
    ]
    assert found["delay_max"][:2].tolist() == [200, 700]
    assert np.isnan(found["delay_max"][2])


def test_key_frequencies_are_those_of_info(tiny_run, tmp_path):
    (tmp_path / "one").mkdir()
    shutil.copy(tiny_run, tmp_path / "one" / "run.tdw")
    (row,) = tdw.runs(tmp_path / "one")
    said = tdw.info(tiny_run)["key_frequencies"]
    assert (row["key_frequencies"], row["key_rule"], row["key_epoch"]) == (
        said["frequencies"],
        said["rule"],
        said["epoch"],
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["weight_decay=0.3"], "0 1"),
        (["weight_decay=0.3,1", "p=7"], "0 1 2 3 b"),
        (["lr>1e-3"], "b"),
        (["lr<=1e-3", "state=finished"], "0 1 2 3"),
        (["tag=paper"], "b"),
        (["tag!=paper", "p!=5"], "0 1 2 3"),
        (["delay_max=none", "memorized_0.1<500"], "2"),
        (["delay_max!=none"], "0 1 3"),
        (["generalized_0.1>=500"], "1 3"),
        (["betas=0.9,0.98", "model_seed>1", " p = 7 "], "2 3 b"),
        (["outcome=not memorized,new"], "b new"),
    ],
)
def test_conditions(folder, conditions, expected):
    assert [name.removesuffix(".tdw") for name in names(tdw.runs(folder).filter(*conditions))] == expected.split()


def test_conditions_of_python(folder):
    found = tdw.runs(folder)
    assert names(found.filter(weight_decay=[0.3], model_seed=1)) == ["1.tdw"]
    assert names(found.filter(lambda row: row["p"] == 5)) == ["new.tdw"]
    assert names(found.filter(delay_max=None, p=7)) == ["2.tdw", "b.tdw"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight decay", r"'weight decay' is not a condition: write NAME=VALUE"),
        ("lr<1,2", r"'lr<1,2' is not a condition"),
        ("wieght_decay=1", r"no column 'wieght_decay': did you mean weight_decay\?"),
        ("lr<small", r"'lr<small': lr needs a number \(got 'small'\)"),
        ("p=", r"p needs a number \(got 'nothing'\)"),
        ("p=1_1_3", r"p needs a number"),
        ("state<finished", r"state needs a number"),
        ("state<3", r"state has values that are not numbers: use = or !="),
        ("__import__('os')=1", r"is not a condition"),
    ],
)
def test_wrong_conditions_say_what_is_allowed(folder, text, message):
    with pytest.raises(TdwError, match=message):
        len(tdw.runs(folder).filter(text))


def test_groups_are_in_order_of_their_values(folder):
    groups = tdw.runs(folder).group("p", "weight_decay")
    assert [(group.label, len(group.runs)) for group in groups] == [
        ("p=5, weight_decay=1", 1), ("p=7, weight_decay=0.3", 2), ("p=7, weight_decay=1", 3)
    ]  # fmt: skip
    assert [group.key["lr"] for group in tdw.runs(folder).group("lr")] == [0.001, 0.01]
    with pytest.raises(TdwError, match="no column 'seed'"):
        tdw.runs(folder).group("seed")


def test_nothing_is_read_before_it_is_needed(folder, reads):
    found = tdw.runs(folder).filter("p=7")
    assert repr(found) == "<Runs, not read yet>"
    assert reads == []
    assert [len(found), len(found)] == [5, 5]
    assert len(reads) == 6


def test_a_second_look_opens_no_file(folder, reads, settled):
    first = tdw.runs(folder).rows
    assert len(reads) == 6
    assert tdw.runs(folder).rows == first
    assert len(reads) == 6
    before = (folder / "b.tdw").stat().st_ctime_ns
    tdw.note(folder / "b.tdw", title="another")
    assert (folder / "b.tdw").stat().st_ctime_ns > before
    assert [row["title"] for row in tdw.runs(folder)][4] == "another"
    assert reads[6:] == ["b.tdw"]


def test_notes_that_wait_are_shown(folder, reads, settled):
    list(tdw.runs(folder))
    (folder / "b.tdw.notes").write_text('{"title": "waiting"}')
    assert tdw.runs(folder).rows[4]["title"] == "waiting" == tdw.info(folder / "b.tdw")["title"]


def test_a_file_that_changed_a_moment_ago_is_read_again(folder, reads):
    """It may change again within the same tick of the clock of its file system."""
    list(tdw.runs(folder))
    list(tdw.runs(folder))
    assert len(reads) == 12


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder, monkeypatch, settled):
    read = rows.read

    def changing(path):
        found = read(path)
        if path.name == "b.tdw":
            os.utime(path)
        return found

    monkeypatch.setattr(rows, "read", changing)
    list(tdw.runs(folder))
    assert sorted(index.load(Path(os.path.realpath(folder)))) == ["a/0.tdw", "a/1.tdw", "a/2.tdw", "a/3.tdw", "new.tdw"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "nonsense", "a folder", "another version", "gone"])
def test_a_damaged_index_is_made_again(folder, reads, settled, state, damage, monkeypatch):
    first = tdw.runs(folder).rows
    (place,) = (state / "runs").glob("*.json")
    data = place.read_bytes()
    match damage:
        case "cut":
            place.write_bytes(data[: len(data) // 2])
        case "flipped":
            place.write_bytes(data.replace(b'"outcome": "generalized"', b'"outcome": "generalizeD"', 1))
        case "nonsense":
            place.write_bytes(b"\xff\xfe")
        case "a folder":
            place.unlink()
            place.mkdir()
        case "another version":
            monkeypatch.setattr(index, "settings", lambda: ())  # of a version with other settings
        case "gone":
            shutil.rmtree(state / "runs")
    assert tdw.runs(folder).rows == first
    assert len(reads) == 12
    assert tdw.runs(folder).rows == first
    assert len(reads) == 12


def test_rows_change_with_the_analyses_they_show():
    """If this fails, correct `index.OF`: rows of the versions before must not be used."""
    assert {name: registry.find(name).version for name in index.OF} == index.OF


def test_what_cannot_be_read_is_told_and_the_rest_is_listed(folder, reads, settled, capsys):
    data = bytearray((folder / "b.tdw").read_bytes())
    data[5000:9000] = b"\x00" * 4000
    (folder / "a" / "hurt.tdw").write_bytes(data)
    (folder / "text.tdw").write_text("hello")
    (folder / "dangling.tdw").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.tdw").mkdir()
    os.mkfifo(folder / "pipe.tdw")
    (folder / "other.txt").write_text("not looked at")
    (folder / ".hidden.tdw").write_text("not looked at")
    found = tdw.runs(folder)
    assert len(found) == 6
    assert [Path(problem.path).name for problem in found.problems] == [
        "hurt.tdw",
        "dangling.tdw",
        "pipe.tdw",
        "text.tdw",
    ]
    assert "does not look like" in found.problems[3].message or "not a project file" in found.problems[3].message
    number = len(reads)
    assert tdw.runs(folder).problems == found.problems
    assert len(reads) == number
    assert main(["runs", str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("tdw: ") == 4
    assert "6 runs: 4 memorized, 3 generalized, 0 diverged" in printed.out


def test_links_are_one_run_and_copies_are_told(folder, capsys):
    (folder / "z link.tdw").symlink_to(folder / "b.tdw")
    os.link(folder / "b.tdw", folder / "z hard.tdw")
    assert names(tdw.runs(folder))[4:] == ["b.tdw", "new.tdw"]
    shutil.copy(folder / "b.tdw", folder / "copy.tdw")
    assert tdw.runs(folder).copies() == 1
    assert main(["runs", str(folder)]) == 0
    assert "1 file is a copy of a run listed above" in capsys.readouterr().out


def test_files_from_elsewhere_are_examined_together(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    started = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: (started.append(args), run(*args, **more))[1])
    assert len(tdw.runs(folder)) == 6
    assert len(started) == 1


def test_a_missing_folder_says_what_to_give(tmp_path, folder):
    with pytest.raises(TdwError, match=r"nowhere does not exist: give a folder with project files"):
        tdw.runs(tmp_path / "nowhere")
    with pytest.raises(TdwError, match=r"b.tdw is a file: give a folder"):
        tdw.runs(folder / "b.tdw")
    (tmp_path / "empty").mkdir()
    found = tdw.runs(tmp_path / "empty")
    assert (len(found), found.columns) == (0, rows.columns())


def test_listing_loads_neither_torch_nor_hdf5(folder):
    code = (
        "import sys, tdw; found = tdw.runs(sys.argv[1]); assert len(found) == 6; found.group('p')\n"
        "print(*{'torch', 'h5py', 'pandas', 'gradio'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code, str(folder)], text=True).strip() == ""


def test_csv_and_json_have_all_columns(folder, capsys):
    assert main(["runs", str(folder), "--csv"]) == 0
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = tdw.runs(folder)
    assert [row["id"] for row in read] == found["id"].tolist()
    assert tuple(read[0]) == found.columns
    assert (read[4]["tags"], read[2]["delay_max"], float(read[0]["lr"])) == ('["paper", "flat"]', "", 1e-3)
    assert main(["runs", str(folder), "--json", "--where", "p=7", "tag=paper"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == [found.rows[4]]
    assert told["problems"] == []


def test_pandas_has_the_rows(folder):
    pytest.importorskip("pandas")
    frame = tdw.runs(folder).to_pandas()
    assert list(frame["weight_decay"]) == [0.3, 0.3, 1, 1, 1, 1]
    assert int(frame["delay_max"].isna().sum()) == 3


def test_parquet_is_written_once(folder, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "runs.parquet"
    assert main(["runs", str(folder), "--parquet", str(out)]) == 0
    assert parquet.read_table(out).to_pylist() == tdw.runs(folder).rows
    assert main(["runs", str(folder), "--parquet", str(out)]) == 2
    assert "already exists: use another name" in capsys.readouterr().err


def test_missing_packages_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TdwError, match=r'needs the package pandas, which is not installed: pip install "tdw\[data\]"'):
        tdw.runs(folder).to_pandas()
    with pytest.raises(TdwError, match=r'needs the package pyarrow, which is not installed: pip install "tdw\[data\]"'):
        tables.write_parquet(tmp_path / "x.parquet", [], [])


def test_an_existing_file_is_not_replaced(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_text("mine")
    with pytest.raises(AlreadyExistsError):
        tables.write_parquet(tmp_path / "x.parquet", [{"p": 1}], ["p"])
    assert (tmp_path / "x.parquet").read_text() == "mine"


def test_groups_on_the_command_line(folder, capsys):
    assert main(["runs", str(folder), "--where", "p=7", "--group", "weight_decay"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:6] == ["weight_decay", "runs", "memorized", "generalized", "diverged", "censored"]
    assert lines[1][:7] == ["0.3", "2", "2", "2", "0", "0", "200"]
    assert lines[2][:7] == ["1", "3", "2", "1", "0", "1", "400"]
    assert lines[3][:6] == ["log-rank", "test", "of", "equal", "delays:", "chi²"]
    assert main(["runs", str(folder), "--group", "weight_decay", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["groups"]
    assert (first["median_delay"], second["median_delay"], second["runs"], second["censored"]) == (200, 400, 4, 1)


def test_values_of_python_are_conditions():
    assert where.given("p", 113).holds({"p": 113})
    assert not where.given("tag", "paper").holds({"tags": []})
