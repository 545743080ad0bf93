"""Public functions refuse arguments that they do not take in a sentence, whatever is given."""

import importlib
import inspect
import pathlib
import pkgutil
import re

import numpy as np
import pytest

import tdw
from tdw.counterfactual import dose
from tdw.errors import ArgumentError, SettingError, TdwError
from tdw.project.edits import KeepFrequency, Random, Scale
from tdw.statistics import bands, collection, durations, figures, frequencies, outcomes, phase, survival
from tdw.sweeps import dask, slurm, work

WRONG = [
    None, 5, -1, 0.5, True, "no such thing", "", "a\0b", b"x", [], {}, (), [None], ["x"], [1], {"a": 1}, {1}, object(), print,
    float("nan"), float("inf"), 10**30, 1j, np.zeros(3), np.array(1), np.zeros((2, 2)), pathlib.Path("no-such-thing"), range(0),
]  # fmt: skip

#: Functions that a user calls, by module, with the arguments that are to be refused: each a call with one wrong value in an otherwise right call.
PUBLIC = {
    "bands": {
        "band": [
            lambda of, x: bands.band(x),
            lambda of, x: bands.band(of.runs, x),
            lambda of, x: bands.band(of.runs, align=x),
            lambda of, x: bands.band(of.runs, share=x),
        ]
    },
    "collection": {
        "runs": [lambda of, x: tdw.runs(x).rows],
        "Runs.filter": [lambda of, x: of.runs.filter(x).rows, lambda of, x: of.runs.filter(p=x).rows],
        "Runs.group": [lambda of, x: of.runs.group(x)],
        "Runs.__getitem__": [lambda of, x: of.runs[x]],
    },
    "durations": {
        "durations": [lambda of, x: durations.durations(x), lambda of, x: durations.durations(of.runs, x)],
        "Durations.survival": [lambda of, x: durations.durations(of.runs).survival(x)],
    },
    "figures": {
        "survival_figure": [
            lambda of, x: figures.survival_figure(x),
            lambda of, x: figures.survival_figure(of.runs.group("weight_decay"), x),
        ],
        "phase_figure": [lambda of, x: figures.phase_figure(x)],
        "band_figure": [lambda of, x: figures.band_figure(x)],
        "frequencies_figure": [lambda of, x: figures.frequencies_figure(x)],
    },
    "forecast": {
        "forecast": [
            lambda of, x: tdw.forecast(x, at=5),
            lambda of, x: tdw.forecast(of.folder, x, at=5),
            lambda of, x: tdw.forecast(of.folder, at=x),
        ]
    },
    "frequencies": {
        "frequency_choices": [
            lambda of, x: frequencies.frequency_choices(x),
            lambda of, x: frequencies.frequency_choices(of.runs, x),
            lambda of, x: frequencies.frequency_choices(of.runs, draws=x),
            lambda of, x: frequencies.frequency_choices(of.runs, seed=x),
        ]
    },
    "outcomes": {"outcomes": [lambda of, x: outcomes.outcomes(x)]},
    "phase": {
        "phase_diagram": [
            lambda of, x: phase.phase_diagram(x),
            lambda of, x: phase.phase_diagram(of.runs, x),
            lambda of, x: phase.phase_diagram(of.runs, y=x),
        ]
    },
    "survival": {
        "kaplan_meier": [
            lambda of, x: survival.kaplan_meier(x, [True]),
            lambda of, x: survival.kaplan_meier([1.0], x),
            lambda of, x: survival.kaplan_meier([1.0], [True], x),
        ],
        "log_rank": [lambda of, x: survival.log_rank(x), lambda of, x: survival.log_rank([x, x])],
        "Survival.quantile": [lambda of, x: survival.kaplan_meier([1.0], [True]).quantile(x)],
    },
    "plan": {
        "plan_sweep": [
            lambda of, x: tdw.plan_sweep(x),
            lambda of, x: tdw.plan_sweep(of.new, file=x),
            lambda of, x: tdw.plan_sweep(of.new, p=x),
            lambda of, x: tdw.plan_sweep(of.new, lr=x),
            lambda of, x: tdw.plan_sweep(of.new, betas=x),
            lambda of, x: tdw.plan_sweep(of.new, checkpoints=x),
            lambda of, x: tdw.plan_sweep(of.new, task=x),
            lambda of, x: tdw.plan_sweep(of.new, no_such_setting=x),
            lambda of, x: tdw.plan_sweep(of.new, draws=x, lr={"uniform": [0.1, 1]}),
            lambda of, x: tdw.plan_sweep(of.new, seed=x, draws=2, lr={"uniform": [0.1, 1]}),
        ]
    },
    "work": {
        "sweep": [
            lambda of, x: tdw.sweep(of.new, jobs=of.wrong_jobs(x)),
            lambda of, x: tdw.sweep(of.new, progress=of.wrong_function(x), jobs=0),
            lambda of, x: tdw.sweep(of.new, stop=of.wrong_function(x), jobs=0),
        ],
        "work": [
            lambda of, x: tdw.work(of.only_missing(x)),
            lambda of, x: tdw.work(of.folder, jobs=of.wrong_jobs(x)),
            lambda of, x: tdw.work(of.folder, only=of.wrong_paths(x)),
            lambda of, x: tdw.work(of.folder, progress=of.wrong_function(x)),
        ],
        "carry_out": [lambda of, x: work.carry_out(x)],
    },
    "dask": {
        "work_on_dask": [
            lambda of, x: dask.work_on_dask(x, "nonsense://x", create={}, patience=0.1),
            lambda of, x: dask.work_on_dask(of.folder, x, patience=0.1),
        ]
    },
    "slurm": {"submit": [lambda of, x: slurm.submit(of.folder, jobs=of.wrong_jobs(x))]},
    "dose": {
        "dose": [
            lambda of, x: tdw.dose(x, of.new, edits="scale:W_E=2", at=0, random=0),
            lambda of, x: tdw.dose(of.file, of.not_path(x), edits="scale:W_E=2", at=0, random=0),
            lambda of, x: tdw.dose(of.file, of.new, edits=of.edits(x), at=0, random=0),
            lambda of, x: tdw.dose(of.file, of.new, edits="scale:W_E=2", at=of.epochs(x), random=0),
            lambda of, x: tdw.dose(of.file, of.new, edits="scale:W_E=2", at=0, random=of.epochs(x)),
            lambda of, x: tdw.dose(of.file, of.new, edits="scale:W_E=2", at=0, random=0, jobs=of.wrong_jobs(x)),
        ],
        "delay_of": [lambda of, x: dose.delay_of(x)],
    },
}

#: What these modules call of each other, and no page of docs/ names.
INNER = {
    "bands": [], "brier": ["followed", "brier_scores", "known_until"], "cure_model": ["fit", "log_likelihood", "sigmoid"],
    "collection": ["checked", "text_of", "order_of"], "entries": ["fresh"], "sparkline": ["sparkline"], "forecaster": ["train"],
    "frequencies": ["poisson_binomial", "holm"], "index": ["stamp", "identity", "is_settled", "load", "save"],
    "judgment": ["judge", "indicators", "wilson", "why_not", "folds", "resampled", "estimate"],
    "landmark": ["curve_features", "measure_features", "measures"], "outcomes": ["rows_of"], "rows": ["read", "row_of", "columns"],
    "survival": ["chi2_tail"], "tables": ["csv_text", "pandas_frame", "write_parquet"],
    "where": ["condition", "known", "given", "all_hold"], "grid": ["grids", "values_of", "configured", "identity"],
    "job": ["create", "finish", "failed"], "plan": ["check_folder", "check_room", "record"], "work": ["to_work_on"],
    "manifest": ["read", "changing", "renames", "leaves", "arrives", "failure_path", "failure_of", "failures", "record_failure", "clear_failure"],
    "worker": ["main"], "dose": ["compared"],
}  # fmt: skip


class Given:
    """Right arguments, and wrong values without those that happen to be right."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / "runs"
        tdw.sweep(
            self.folder, jobs=1, p=7, d_model=8, heads=2, d_mlp=8, epochs=20, checkpoints="even:3", weight_decay=[0, 1]
        )
        self.runs = tdw.runs(self.folder)
        self.file = self.runs.paths[0]
        self.new = folder / "nothing is written here"

    @staticmethod
    def wrong_jobs(x):
        return (
            "x" if x is None or (type(x) is int and 0 <= x < 1025) or (isinstance(x, np.ndarray) and not x.ndim) else x
        )

    @staticmethod
    def wrong_function(x):
        return "x" if x is None or callable(x) else x

    @staticmethod
    def wrong_paths(x):
        return 5 if x is None or (isinstance(x, (list, tuple, range, set)) and not any(x)) or np.size(x) > 1 else x

    @staticmethod
    def only_missing(x):
        return x

    @staticmethod
    def not_path(x):
        return 5 if isinstance(x, (str, pathlib.Path)) and x and "\0" not in str(x) else x

    @staticmethod
    def edits(x):
        empty = isinstance(x, (list, tuple, range)) and not x
        return 5 if empty else x

    @staticmethod
    def epochs(x):
        """Whole numbers from 0 are epochs, alone or several; what is given instead of those is none."""
        is_number = isinstance(x, int) and 0 <= x < 100
        return "x" if is_number or isinstance(x, np.ndarray) or x in ([1], {1}) else x


@pytest.fixture(scope="module")
def of(tmp_path_factory):
    return Given(tmp_path_factory.mktemp("arguments"))


CASES = [
    (f"{module}.{name} {number}", call)
    for module, functions in PUBLIC.items()
    for name, calls in functions.items()
    for number, call in enumerate(calls)
]


@pytest.mark.parametrize("call", [call for _, call in CASES], ids=[name for name, _ in CASES])
def test_whatever_is_given_the_error_is_a_sentence(of, call):
    accepted = refused = 0
    for wrong in WRONG:
        try:
            call(of, wrong)
            accepted += 1
        except TdwError as error:
            refused += bool(re.fullmatch(r"[^\n]+", str(error)))
    assert refused + accepted == len(WRONG)
    assert refused > len(WRONG) / 3  # the others are right there, such as an empty list
    assert not of.new.exists()


def test_every_function_is_public_and_called_with_wrong_values_or_belongs_to_the_inside():
    found = {}
    for package in ("tdw.statistics", "tdw.sweeps", "tdw.counterfactual"):
        for item in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{item.name}")
            own = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
            found[item.name] = {one.__name__ for one in own if callable(one) and not inspect.isclass(one)}
    for module, names in found.items():
        known = {name for name in PUBLIC.get(module, {}) if "." not in name} | set(INNER.get(module, []))
        assert {name for name in names if not name.startswith("_")} == known, module
    pages = "".join(
        page.read_text(encoding="utf-8") for page in (pathlib.Path(__file__).parents[2] / "docs").glob("*.md")
    )
    inner = {name for names in INNER.values() for name in names} - {"runs", "load"}
    assert not [name for name in inner if f"{name}(" in pages.replace("tdw.create(", "").replace("tdw.train(", "")]


def test_one_edit_is_given_alone_as_a_list_or_as_an_object(of, tmp_path):
    contents = []
    for number, edits in enumerate(("scale:W_E=2", ["scale:W_E=2"], Scale(weights=("W_E",), factor=2))):
        tdw.branch(of.file, tmp_path / f"{number}.tdw", 10, edits=edits)
        with tdw.open(tmp_path / f"{number}.tdw") as branch:
            contents.append(
                (branch.branched.edits, {name: array.tobytes() for name, array in branch.weights(10).items()})
            )
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        (None, r"^edits must be a list of edits, each as text or as an object: remove-frequency:.* \(got None\)$"),
        ([None], r"^edits must be edits, each as text or as an object: .* \(got None\)$"),
        ([Scale(weights="W_E", factor=2)], r"^edits must be like scale:W_E=FACTOR, where FACTOR is a finite number \(got Scale"),
        ([Scale(weights=("W_E",), factor=float("nan"))], r"^edits must be like scale:W_E=FACTOR.*nan"),
        ([Random(weights=("W_E",), norm=-1)], r"NORM is a number of at least 0.*norm=-1"),
        ([KeepFrequency(frequencies=())], r"^edits must be like keep-frequency:.*, with one frequency or more \(got"),
        (["keep-frequency:"], r"^--edit keep-frequency must have the form .*, with one frequency or more \(got keep-frequency:\)$"),
        (["remove-frequency: , @W_E"], r"^--edit remove-frequency must have the form .*with one frequency or more \(got"),
    ],
)  # fmt: skip
def test_edits_that_are_none(of, tmp_path, edits, sentence):
    with pytest.raises((ArgumentError, SettingError), match=sentence):
        tdw.branch(of.file, tmp_path / "new.tdw", 10, edits=edits)
    with pytest.raises((ArgumentError, SettingError), match=sentence):
        tdw.dose(of.file, tmp_path / "doses", edits=edits, at=10, random=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("jobs", ["-1", "0", "0.5", "1025", "9" * 30, "1e3", "x", "", "٣"])
@pytest.mark.parametrize("command", ["sweep", "work", "analyze", "dose", "work --slurm"])
def test_numbers_of_jobs_are_refused_alike(of, capsys, command, jobs):
    from tdw.cli.main import main

    low = 0 if command == "sweep" else 1
    if low == int(jobs == "0") - 1:
        return
    first = of.folder if "work" in command else of.new if command == "sweep" else of.file
    more = ["--at", "0", "--edit", "scale:W_E=2", str(of.new)] if command == "dose" else []
    name, *rest = command.split()
    if command == "sweep" and jobs == "0":
        return  # creates the files and trains none
    assert main([name, str(first), f"--jobs={jobs}", *more, *rest]) == 2
    assert (
        f"argument --jobs: must be an integer from {low} to 1024 (got {jobs or 'nothing'})" in capsys.readouterr().err
    )
    assert not of.new.exists()


def test_what_is_right_in_another_form_is_taken(of):
    found = survival.kaplan_meier(np.array([1, 2, 3]), (1, 0, 1))
    assert found.share.tolist() == survival.kaplan_meier([1.0, 2.0, 3.0], [True, False, True]).share.tolist()
    assert durations.durations(row for row in of.runs).runs == 2
    assert collection.runs(str(of.folder)).paths == of.runs.paths
    one = of.runs.group("weight_decay")[0]
    assert figures.survival_figure(one).data == figures.survival_figure([one]).data
