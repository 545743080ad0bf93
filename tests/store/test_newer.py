"""Files of a newer version of the program: named as that, read as far as they are understood, never changed."""

import pytest

import tdw
from tdw.cli.main import main
from tdw.errors import NewerFormatError
from tdw.project import writer


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes a trained run whose stored settings are changed."""

    def make(**changes):
        path = tmp_path / "run.tdw"
        tdw.create(path, tdw.configure(p=5, d_model=8, heads=2, d_mlp=8, epochs=10, train_fraction=0.5, threads=1))
        tdw.train(path)
        with writer.ProjectWriter.open(path) as project:
            described = project.described
            described["settings"] = described["settings"] | changes
            project._writer.extend(config=described, epochs=10, checkpoint_capacity=len(described["plan"]))
        return path

    return make


def test_a_setting_of_a_newer_version_is_read_past_and_said(made, capfd):
    path = made(schedule_free=0.3)
    before = path.read_bytes()
    with tdw.open(path) as run:
        assert len(run.epochs) == 11
        assert run.config.p == 5
        assert run.weights(10)
        assert run.description.newer == ("schedule_free",)
    assert main(["info", str(path)]) == 0
    printed = capfd.readouterr()
    assert "was made by a newer version of tdw" in printed.err
    assert "schedule_free" in printed.err
    assert "mod 5" in printed.out
    for act in (lambda: tdw.train(path, epochs=20), lambda: tdw.analyze(path), lambda: tdw.note(path, title="x")):
        with pytest.raises(
            NewerFormatError, match="newer version of tdw, which has schedule_free: it can be read, but not"
        ):
            act()
    assert path.read_bytes() == before


def test_a_kind_of_a_newer_version_is_said(made, capfd):
    path = made(optimizer="muon")
    with pytest.raises(NewerFormatError, match="made by a newer version of tdw: --optimizer muon is not known here"):
        _ = tdw.open(path).config
    assert main(["info", str(path)]) == 2
    assert "Traceback" not in capfd.readouterr().err
