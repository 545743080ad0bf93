"""Error messages of the *New run* form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tdw import config
from tdw.app import gradio_form

DEFAULTS = {item.name: item.text if not item.choices else item.default for item in config.settings()}
FRACTION = next(item for item in config.settings() if item.name == "train_fraction")


def test_every_setting_has_one_field():
    first, more = gradio_form.fields()
    assert sorted(item.name for item in [*first, *more]) == sorted(item.name for item in config.settings())


def test_the_defaults_are_accepted_and_become_flags(tmp_path):
    verdict = gradio_form.check(DEFAULTS, str(tmp_path / "a"))
    assert verdict.errors == {}
    assert verdict.path == tmp_path / "a.tdw"
    assert "--p=113" in verdict.arguments
    assert "--train-fraction=0.3" in verdict.arguments
    assert "--betas=0.9,0.98" in verdict.arguments
    flags = (flag.removeprefix("--").split("=", 1) for flag in verdict.arguments)
    assert config.configure(**{name.replace("-", "_"): value for name, value in flags}) == verdict.config


@pytest.mark.parametrize(
    ("setting", "typed", "reason"),
    [
        ("p", "1", r"^must be an integer from 2 to 1000 \(got 1\)"),
        ("p", "", r"\(got nothing\)"),
        ("p", "2.5", r"\(got 2.5\)"),
        ("epochs", "-3", r"must be an integer from 1 to 10000000 \(got -3\)"),
        ("checkpoints", "0:100:x", r"'0:100:x'"),
        ("checkpoints", "99999999", r"99999999"),
        ("betas", "0.9", r"\(got 0.9\)"),
        ("heads", "3", r"must divide Width d_model 128"),
        ("train_fraction", 0.00001, r"no training pairs"),
        ("weight_decay", "nan", r"\(got nan\)"),
    ],
)
def test_a_refused_field_says_why_without_the_flag(tmp_path, setting, typed, reason):
    verdict = gradio_form.check({**DEFAULTS, setting: typed}, str(tmp_path / "a.tdw"))
    assert list(verdict.errors) == [setting]
    assert re.search(reason, verdict.errors[setting])
    assert "--" not in verdict.errors[setting]
    assert verdict.config is None
    assert verdict.arguments == []


def test_every_wrong_field_gets_a_message(tmp_path):
    typed = {**DEFAULTS, "p": "1", "epochs": "x", "checkpoints": "?"}
    verdict = gradio_form.check(typed, str(tmp_path / "missing" / "a.tdw"))
    assert set(verdict.errors) == {"p", "epochs", "checkpoints", gradio_form.WHERE}


def test_a_name_that_is_taken_is_refused(tmp_path):
    (tmp_path / "a.tdw").touch()
    assert "already exists" in gradio_form.check(DEFAULTS, str(tmp_path / "a")).errors[gradio_form.WHERE]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("", "no path given"),
        ("  ", "no path given"),
        ("a\0b", "null byte"),
        ("/no/such/a.tdw", "folder /no/such does not exist"),
    ],
)
def test_a_place_that_cannot_be_is_refused(file, reason):
    assert reason in gradio_form.check(DEFAULTS, file).errors[gradio_form.WHERE]


def test_a_folder_is_no_name_for_a_run(tmp_path):
    verdict = gradio_form.check(DEFAULTS, str(tmp_path))
    assert "it is a folder. Give a file name in it" in verdict.errors[gradio_form.WHERE]
    assert verdict.path is None


def test_a_setting_that_does_not_apply_is_to_be_set_back(tmp_path):
    verdict = gradio_form.check({**DEFAULTS, "layers": "3"}, str(tmp_path / "a.tdw"))
    assert verdict.errors["layers"].endswith("set it back to 2")


def test_the_form_calls_settings_what_the_docs_do():
    glossary = (Path(__file__).parents[2] / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    assert f"| {gradio_form.label(FRACTION).lower()} |" in glossary


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    # Tests may run as root, who may write everywhere, so the answer of the system is simulated.
    monkeypatch.setattr(gradio_form.os, "access", lambda *_: False)
    assert "is not writable" in gradio_form.check(DEFAULTS, str(tmp_path / "a.tdw")).errors[gradio_form.WHERE]


def test_a_run_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    class Usage:
        free = 3e6

    monkeypatch.setattr(gradio_form.shutil, "disk_usage", lambda _: Usage)
    assert "has 3.0 MB free" in gradio_form.check(DEFAULTS, str(tmp_path / "a.tdw")).errors[gradio_form.WHERE]


def test_the_suggestion_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run-1.tdw").touch()
    assert gradio_form.suggestion() == str(tmp_path / "run-2.tdw")
    assert gradio_form.check(DEFAULTS, gradio_form.suggestion()).errors == {}
