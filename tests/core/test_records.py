"""Stored records: what a newer version adds is kept, what is not of the form is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tdw
from tdw import store
from tdw.network import training
from tdw.project.records import (
    BranchedFrom,
    Description,
    Drift,
    Environment,
    ImportedFrom,
    ImportedSplit,
    Notes,
    Record,
    RecordError,
    RecoveredFrom,
)
from tests.core.test_consistent import described

DRIFT = {"series": "losses/train", "epoch": 3, "stored": None, "recomputed": 0.5, "epochs": 2}
SPLIT = {
    "rule": "r", "seed": None, "fraction": 0.5, "train": 1, "test": 1, "error": None, "chance": None, "compared_at": [0],
}  # fmt: skip
IMPORTED = {
    "source": "x.pt", "form": "weights", "split": SPLIT, "assumed": ["b"], "inferred": ["a"], "converted": [], "contradicted": [],
    "unknown": ["lr"], "resumable": False, "why_not": "no optimizer",
}  # fmt: skip
BRANCHED: dict[str, Any] = {
    "from": "b", "file": "b.tdw", "at": 8, "settings": described()["settings"], "optimizer_from": 0, "branched": None,
}  # fmt: skip
STORED: list[tuple[type[Record], dict[str, Any]]] = [
    (Drift, DRIFT),
    (Environment, {"from_epoch": 0, "torch": "2.6", "threads": 2, "mkl_cbwr": "", "drift": DRIFT}),
    (ImportedSplit, SPLIT),
    (ImportedFrom, IMPORTED),
    (BranchedFrom, BRANCHED | {"branched": BRANCHED}),
    (RecoveredFrom, {"from": "a.tdw", "damage": ["checkpoint 3 is damaged"]}),
    (Notes, {"title": "t", "tags": ["a"], "remark": ""}),
]
KINDS = pytest.mark.parametrize(("kind", "stored"), STORED, ids=lambda value: getattr(value, "__name__", ""))


@KINDS
def test_a_record_gives_back_what_was_stored_and_what_a_newer_version_added(kind, stored):
    assert kind.of(stored).to_json() == stored
    assert msgspec.to_builtins(kind.of(stored)) == stored, "its fields say all of it"
    newer = {**stored, "of a newer version": [1]}
    assert kind.of(newer).to_json() == newer
    assert kind.of(newer) == kind.of(stored)


@KINDS
def test_a_record_of_another_form_is_refused(kind, stored):
    for name in stored:
        with pytest.raises(msgspec.ValidationError):
            kind.of(stored | {name: [{"no": "such value"}]})
    with pytest.raises(msgspec.ValidationError):
        kind.of([stored])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": 7}, "it has no valid run id"),
        ({"id": ""}, "it has no valid run id"),
        ({"settings": "p = 5"}, "it has no settings"),
        ({"settings": {"p": True}}, "its settings are invalid"),
        ({"plan": [0, 1.5]}, "it has no list of planned checkpoints"),
        ({"optimizer_from": True}, "its optimizer starts at an impossible epoch"),
        ({"environments": [{"from_epoch": True}]}, "it does not record where it was trained"),
        ({"environments": [{"from_epoch": 0, "threads": "2"}]}, "it does not record where it was trained"),
        ({"branched": {"from": "b"}}, "the description of the run it was branched from is invalid"),
        ({"imported": []}, "the description of its import is invalid"),
        ({"recovered": {"from": "a"}}, "the description of the file it was recovered from is invalid"),
    ],
)
def test_a_description_that_is_wrong_says_in_which_part(changes, problem):
    Description.of(described())
    with pytest.raises(RecordError, match=problem):
        Description.of(described() | changes)


def test_origins_without_end_are_refused():
    deep: dict[str, Any] | None = None
    for _ in range(100_000):
        deep = BRANCHED | {"branched": deep}
    with pytest.raises(RecordError, match="branched from is invalid"):
        Description.of(described() | {"branched": deep})


def test_what_a_newer_version_stored_survives_resuming_here(tiny_run, tmp_path, monkeypatch):
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    with store.open_writer(path) as writer:
        (first,) = writer.reader.config["environments"]
        added = {"environments": [first | {"gpu": "none"}], "colophon": {"by": "a newer version"}}
        writer.extend(config=writer.reader.config | added, epochs=40, checkpoint_capacity=9)
    plain = training.environment
    monkeypatch.setattr(training, "environment", lambda config, *more: plain(config, *more) | {"cores": 99})
    tdw.train(path, epochs=45)
    with tdw.open(path) as run:
        assert run.described["colophon"] == {"by": "a newer version"}
        kept, new = run.described["environments"]
        assert kept == first | {"gpu": "none"}
        assert new == first | {"from_epoch": 40, "cores": 99}
        assert run.environments[0].place["gpu"] == "none"
