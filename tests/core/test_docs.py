"""What the pages for users promise: their tables are those of the program, their recipes run, their links lead somewhere."""

import re
from pathlib import Path

import pytest

import tdw
from tdw.analyses import ANALYSES
from tdw.cli.parser import parser
from tdw.config import NETWORKS, OPTIMIZERS, TASKS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "findings" / "README.md"])


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def table(page, *header):
    """The rows of all tables of a page with this header, each a list of cells."""
    rows, inside = [], False
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if tuple(cells[: len(header)]) == header:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(line) <= set("|- "):
            rows.append(cells)
    return rows


def commands():
    """Each command's own parser, by name."""
    return next(action for action in parser()._actions if action.choices and "train" in action.choices).choices


def test_the_readme_lists_every_command_once_with_flags_it_has():
    known = commands()
    rows = table(text("README.md"), "command", "what it does")
    listed = [re.match(r"(?:`tdw`, )?`tdw (\w+)", row[0])[1] for row in rows]
    assert sorted(listed) == sorted(known)
    for name, row in zip(listed, rows, strict=True):
        flags = {flag for action in known[name]._actions for flag in action.option_strings}
        assert set(re.findall(r"--[a-z-]+", row[0])) <= flags, name


def test_every_command_on_files_has_the_function_that_the_readme_says():
    named = {"import": "import_run", "export": "export_run"}
    for name in set(commands()) - {"demo"}:
        assert callable(getattr(tdw, named.get(name, name))), name
    sentence = " ".join(text("README.md").split())
    assert "except that `import` and `export` are `tdw.import_run` and `tdw.export_run`" in sentence


def test_the_page_of_analyses_lists_every_analysis_once_under_what_it_is_of():
    page = text("docs/ANALYSES.md")
    for per, part in zip(("checkpoint", "run"), page.split("## Of a whole run"), strict=True):
        names = [re.fullmatch(r"`(\w+)`", row[0])[1] for row in table(part, "analysis", "definition", "shape")]
        assert sorted(names) == sorted(item.name for item in ANALYSES.values() if item.per == per)


def test_the_number_of_analyses_is_that_of_the_program():
    said = re.findall(r"(\d+)\s+analyses", text("README.md")) + re.findall(r"(\d+)\s+analyses", text("CHANGELOG.md"))
    assert said == [str(len(ANALYSES))] * 2


@pytest.mark.parametrize("kinds", [TASKS, NETWORKS, OPTIMIZERS], ids=["task", "network", "optimizer"])
def test_the_page_of_settings_names_every_kind(kinds):
    page = text("docs/USING.md")
    assert [name for name in kinds if f"`{name}`" not in page] == []


def test_that_a_missing_row_would_be_noticed():
    page = text("docs/ANALYSES.md").replace("| `loss` |", "| `los` |")
    assert "loss" not in [row[0].strip("`") for row in table(page, "analysis", "definition", "shape")]


@pytest.mark.parametrize("stopped", [False, True])
def test_the_recipe_for_reading_a_file_without_this_package_runs(tiny_run, stopped):
    if stopped:  # with more checkpoints planned than stored
        tdw.train(tiny_run, epochs=400, checkpoints="even:30", stop=lambda: True)
    recipe = re.search(r"```python\n(import h5py.*?)```", text("docs/FORMAT.md"), re.DOTALL)[1]
    names = {}
    exec(recipe.replace('"run.tdw"', repr(str(tiny_run))), names)
    names["f"].close()
    with tdw.open(tiny_run) as run:
        assert (names["loss"] == run.train_loss).all()
        assert (len(run.checkpoints) < len(run.planned_checkpoints)) == stopped
        assert (names["weights"]["embed.W_E"].numpy() == run.weights(run.checkpoints[-1])["embed.W_E"]).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_tests_that_the_promises_name_exist():
    named = set(re.findall(r"test_\w+\.py", text("docs/PROMISES.md")))
    assert named
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}
