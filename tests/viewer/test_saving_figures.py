"""`save_figure`, `save_animation` and `tdw figure`: files, captions, numbers, refusals."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tdw
from tdw import panels
from tdw.cli import main
from tdw.errors import AlreadyExistsError, CheckpointNotFoundError, NotApplicableError, TdwError, UnknownNameError
from tdw.panels import animate, save
from tests.viewer.synthetic import Made

pytest.importorskip("matplotlib")
POINTS = 72 / 25.4  # in a millimeter


@pytest.fixture(scope="module")
def made() -> Made:
    return Made(p=7, d_mlp=12, checkpoints=4, everything=True)


def saved(made: Made, name: str, out: Path, *given: Any, **options: Any) -> str:
    return save.save_figure(made, name, out, *given, **options)  # type: ignore[arg-type]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def rows_of(path: Path) -> tuple[dict[str, str], list[str], list[list[str]]]:
    """What the lines of comments say, the header, and the rows."""
    lines = path.read_text().splitlines()
    about = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("# "))
    header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    return about, header, rows


def test_files_have_the_size_asked_for_fonts_inside_and_the_same_bytes_every_time(made: Made, tmp_path: Path) -> None:
    for name in ("restricted_loss", "attention"):
        for suffix in (".pdf", ".svg", ".png"):
            first, again = tmp_path / f"{name}{suffix}", tmp_path / f"{name}-again{suffix}"
            for out in (first, again):
                saved(made, name, out, 200, width_mm=89, height_mm=60, dpi=300)
            assert first.read_bytes() == again.read_bytes()
    pdf = (tmp_path / "restricted_loss.pdf").read_bytes()
    box = [float(number) for number in re.search(rb"/MediaBox \[(.*?)\]", pdf)[1].split()]  # type: ignore[index]
    assert box[2:] == pytest.approx([89 * POINTS, 60 * POINTS], abs=0.1)
    assert b"/FontFile2" in pdf
    assert b"CreationDate" not in pdf
    svg = (tmp_path / "restricted_loss.svg").read_text()
    root = ET.fromstring(svg)
    assert [float(root.attrib[side].removesuffix("pt")) for side in ("width", "height")] == pytest.approx(
        [89 * POINTS, 60 * POINTS], abs=0.1
    )
    assert "<text" not in svg, "letters are outlines"
    assert "http" not in svg.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert size_of(tmp_path / "attention.png") == (int(89 / 25.4 * 300), int(60 / 25.4 * 300))


def test_csv_files_have_the_numbers_that_are_drawn_and_say_of_what(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    saved(made, "restricted_loss", out, 200, rule="clusters", side="train")
    about, header, rows = rows_of(out)
    assert header == ["line", "epoch", "loss (nats)"]
    stored = made.series("analysis/restricted_loss/loss")[:, 0, 2, :, 1]
    for i, name in enumerate(("sum directions", "2 × 2 blocks", "3 × 3 blocks", "logit fit")):
        ours = [(int(row[1]), np.float64(row[2])) for row in rows if row[0].startswith(name)]
        assert ours == list(zip(made.checkpoints, stored[:, i].tolist(), strict=True))
    expected = {"run": "made up.tdw", "run id": "made-up", "panel": "restricted_loss", "epoch": "200"}
    assert expected.items() <= about.items()
    assert about["measures"] == "restricted_loss version 1"
    assert about["program"] == f"tdw {tdw.__version__}"
    saved(made, "attention", out, 100, overwrite=True)
    _, header, rows = rows_of(out)
    assert header == ["head", "token", "mean of attention"]
    mean = made.series("analysis/attention/mean")[1]
    assert [np.float32(row[2]) for row in rows] == mean.ravel().tolist()
    assert rows[1][:2] == ["head 0", "b"]
    saved(made, "neuron_activations", out, 300, overwrite=True)
    _, header, rows = rows_of(out)
    assert header == ["neuron", "a", "b", "activation"]
    neuron = int(rows[0][0])
    np.testing.assert_allclose(
        np.array([row[3] for row in rows[:49]], float).reshape(7, 7), made.neuron_map(300, neuron)
    )
    assert rows[8][1:3] == ["1", "1"]


def test_every_panel_has_a_table_of_numbers(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tdw.analyses import summary

    monkeypatch.setattr(summary, "events", lambda project: project.events())
    for one in panels.describe(made):  # type: ignore[arg-type]
        if one.header.state.status == "ready":
            out = tmp_path / f"{one.header.name}.csv"
            saved(made, one.header.name, out, 200)
            about, header, rows = rows_of(out)
            assert about["panel"] == one.header.name
            assert rows, one.header.name
            assert {len(row) for row in rows} == {len(header)}
            assert all(header), one.header.name


def test_a_caption_names_run_epoch_and_the_versions_of_measures(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    words = saved(made, "progress_losses", out, 200, caption=True)
    assert (tmp_path / "x.txt").read_text() == f"{words}\n"
    assert words.startswith("Progress losses (test · ")
    assert "Run made up.tdw, epochs 0–300. The vertical line marks epoch 200." in words
    versions = {name: made.analyses()[name].version for name in ("loss", "restricted_loss", "excluded_loss")}
    assert words.endswith(
        "Measures: "
        + ", ".join(f"{name} version {version}" for name, version in versions.items())
        + f"; tdw {tdw.__version__}."
    )
    words = saved(made, "loss", tmp_path / "y.csv")
    assert words == f"Loss. Run made up.tdw, epochs 0–300. As recorded in training; tdw {tdw.__version__}."
    words = saved(made, "embedding_frequencies", tmp_path / "z.csv")
    assert "epoch 300. Dashed: the threshold " in words


def test_what_cannot_be_written_is_refused_and_leaves_nothing(made: Made, tmp_path: Path, monkeypatch: Any) -> None:
    for kind, sentence, name, out, options in (
        (TdwError, r"ends with .pdf, .svg, .png, .csv \(got x.jpg\)", "loss", "x.jpg", {}),
        (TdwError, r"ends with .pdf, .svg, .png, .csv \(got loss\)", "loss", "loss", {}),
        (UnknownNameError, "no installed font is named 'No Such'", "loss", "x.pdf", {"font": "No Such"}),
        (UnknownNameError, "no panel is named 'los': did you mean 'loss'", "los", "x.pdf", {}),
        (UnknownNameError, "no choice of this panel is named 'rule'", "loss", "x.pdf", {"rule": "clusters"}),
        (TdwError, r"the width of a figure is from 20 to 1000 mm \(got 5\)", "loss", "x.pdf", {"width_mm": 5}),
        (TdwError, r"from 50 to 2400 dpi \(got 5000\)", "loss", "x.pdf", {"dpi": 5000}),
        (TdwError, r"has no room for this panel", "events", "x.pdf", {"width_mm": 30}),
        (TdwError, r"this table is \d+ mm wide, and the figure 30 mm", "baselines", "x.pdf", {"width_mm": 30}),
        (CheckpointNotFoundError, "no checkpoint at epoch 150", "loss", "x.pdf", {"epoch": 150}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("tdw.analyses.summary.events", lambda project: project.events())
            with pytest.raises(kind, match=sentence):
                saved(made, name, tmp_path / out, caption=True, **options)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"x.txt already exists"):
        saved(made, "loss", tmp_path / "x.svg", caption=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    monkeypatch.setattr(save.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TdwError, match=r'not installed: pip install "tdw\[figures\]". A .csv file needs none'):
        saved(made, "loss", tmp_path / "x.svg")
    saved(made, "loss", tmp_path / "x.csv")


# ---- animations ------------------------------------------------------------------------------------------------------


def test_an_animation_has_a_frame_for_each_checkpoint_on_the_same_axes(made: Made, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for name in ("embedding_frequencies", "attention", "neuron_activations", "weight_trajectory", "loss"):
        out = tmp_path / f"{name}.gif"
        told.clear()
        words = animate.save_animation(  # type: ignore[arg-type]
            made, name, out, fps=4, dpi=60, progress=lambda done, total: told.append((done, total))
        )
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert "Run made up.tdw, 4 checkpoints, epochs 0–300. " in words
        with Image.open(out) as film:
            assert (film.n_frames, film.info["duration"], film.info.get("loop")) == (4, 250, 0)
            frames = []
            for number in range(4):
                film.seek(number)
                frames.append(np.asarray(film.convert("L"), int))
        assert any((frames[0] != frame).any() for frame in frames[1:]), name
        foot = slice(-12, None)  # the title of the x axis stays where it is
        assert all(abs(frames[0][foot] - frame[foot]).max() < 40 for frame in frames[1:]), name


def test_scales_of_animations_hold_every_checkpoint(made: Made) -> None:
    from tdw.panels.content import content
    from tdw.panels.describe import drawable

    for name, array in (("embedding_frequencies", "embedding_frequencies/norms"), ("attention", "attention/variance")):
        picks = {"view": "Variance"} if name == "attention" else {}
        _, spec, _ = drawable(made, name, None, picks)  # type: ignore[arg-type]
        every = [content(made, spec, epoch) for epoch in made.checkpoints]  # type: ignore[arg-type]
        scaled = animate.same_scale(every[-1], iter(every[:-1]))
        stored = made.series(f"analysis/{array}")
        high = scaled.ends[1] / 1.06 if name == "embedding_frequencies" else scaled.high  # type: ignore[union-attr, index]
        assert high == pytest.approx(stored.max(), rel=1e-5)


def test_animations_that_cannot_be_made_are_refused(made: Made, tmp_path: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(animate.shutil, "which", lambda _: None)
        with pytest.raises(TdwError, match="needs the program ffmpeg, which is not installed"):
            animate.save_animation(made, "loss", tmp_path / "x.mp4")  # type: ignore[arg-type]
    with pytest.raises(TdwError, match=r"from 0.1 to 60 frames a second \(got 100\)"):
        animate.save_animation(made, "loss", tmp_path / "x.gif", fps=100)  # type: ignore[arg-type]
    with pytest.raises(TdwError, match=r"ends with .gif, .mp4 \(got x.webm\)"):
        animate.save_animation(made, "loss", tmp_path / "x.webm")  # type: ignore[arg-type]
    one = Made(p=7, d_mlp=12, checkpoints=4)
    one.kept = 1
    with pytest.raises(NotApplicableError, match=r"needs two checkpoints; there are 1"):
        animate.save_animation(one, "loss", tmp_path / "x.gif")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_file_has_a_frame_for_each_checkpoint(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    animate.save_animation(made, "embedding_frequencies", out, fps=4, dpi=77)  # type: ignore[arg-type]
    told = subprocess.run(["ffmpeg", "-i", out, "-f", "null", "-"], capture_output=True, text=True).stderr
    assert re.search(r"frame=\s*4\b", told), told


# ---- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.tdw"
    settings = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "train_fraction": 0.5, "threads": 1}
    tdw.create(path, tdw.configure(**settings, epochs=20, checkpoints="0:20:10"))
    tdw.train(path, progress=None)
    tdw.analyze(path, ["embedding_frequencies", "attention"])
    return path


def test_the_command_writes_lists_and_refuses(file: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "x.png"
    line = ["figure", str(file), "attention", "--out", str(out), "--epoch", "10"]
    assert main.main([*line, "--choose", "view=Variance", "--width", "double", "--dpi", "100", "--caption"]) == 0
    told = capsys.readouterr().out
    assert "Run run.tdw, epoch 10. Measure: attention version" in " ".join(told.split())
    assert size_of(out)[0] == int(178 / 25.4 * 100)
    assert (tmp_path / "x.txt").exists()
    assert main.main(line) == 2
    assert "x.png already exists: use another name, or --force to replace it." in capsys.readouterr().err
    assert main.main([*line, "--force"]) == 0
    assert (
        main.main(["figure", str(file), "loss", "--animate", str(tmp_path / "x.gif"), "--fps", "2", "--dpi", "60"]) == 0
    )
    assert "3/3 frames drawn" in capsys.readouterr().out
    assert main.main(["figure", str(file), "--list"]) == 0
    listed = capsys.readouterr().out
    assert "attention                    Attention · Attention (view: Mean, Variance)" in listed
    assert "not analyzed: `tdw analyze FILE --only weight_norms`" in listed
    for wrong, sentence in (
        (["figure", str(file)], "name a panel and a file to write"),
        (
            ["figure", str(file), "loss", "--animate", "x.gif", "--epoch", "10"],
            "an animation shows all checkpoints: drop the epoch",
        ),
        (["figure", str(file), "weight_norms", "--out", "x.pdf"], "has no results of weight_norms"),
    ):
        assert main.main(wrong) == 2
        assert sentence in capsys.readouterr().err
    for wrong, sentence in (
        (["--width", "wide"], "above 0"),
        (["--choose", "rule"], "NAME=OPTION"),
        (["--height", "-3"], "above 0"),
    ):
        assert main.main([*line, *wrong]) == 2
        assert sentence in capsys.readouterr().err
