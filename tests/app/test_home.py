"""The table of runs in a real browser: listing, search, groups, selection, actions, folders, and what changes outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tdw

pytestmark = pytest.mark.browser

SIZES = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "epochs": 20, "checkpoints": "", "threads": 1}
NAMES = "[...document.querySelectorAll('.tdw-rows .tdw-row [data-column=name]')].map(cell => [cell.closest('.tdw-row').style.transform, cell.textContent]).sort((a, b) => parseInt(a[0].slice(11)) - parseInt(b[0].slice(11))).map(pair => pair[1])"


@pytest.fixture
def folder(tmp_path, tiny_run) -> Path:
    """Five new runs and a finished one."""
    place = tmp_path / "runs"
    place.mkdir()
    for seed in range(5):
        settings = SIZES | {"model_seed": seed, "weight_decay": 0.5 if seed < 3 else 1.0}
        tdw.create(place / f"seed-{seed}.tdw", tdw.configure(**settings))
    shutil.copy(tiny_run, place / "finished.tdw")
    return place


def enter(page, window) -> None:
    page.goto(window.address)
    page.wait_for_selector(".tdw-run-table, .tdw-empty:not([hidden])", state="attached")


def shown(page) -> list[str]:
    return page.evaluate(NAMES)


def wait_for(page, *names: str) -> None:
    page.wait_for_function(
        f"(names) => JSON.stringify({NAMES}.toSorted()) === JSON.stringify(names)", arg=sorted(names)
    )


def row(page, name: str):
    return page.locator(".tdw-rows .tdw-row", has=page.locator(f"[data-column=name]:text-is('{name}')"))


@pytest.fixture
def home(page, open_window, folder):
    """The table with the folder's runs. Yields the window."""
    window = open_window()
    enter(page, window)
    page.wait_for_selector("text=No runs yet")
    page.fill("#tdw-path :is(textarea, input)", str(folder))
    page.click("#tdw-open-button")
    wait_for(page, "finished", *(f"seed-{seed}" for seed in range(5)))
    return window


def test_a_folder_is_listed_and_its_runs_open(page, home, folder):
    assert page.locator(".tdw-count").inner_text() == "6 runs"
    assert page.locator(".tdw-folder").inner_text().startswith("runs")
    assert row(page, "seed-0").locator(".tdw-chip").inner_text() == "new"
    assert row(page, "finished").locator(".tdw-chip").inner_text() == "finished"
    with tdw.open(folder / "finished.tdw") as run:
        loss = float(run.test_loss[-1])
    said = row(page, "finished").locator("[data-column=test_loss]").inner_text()
    assert abs(float(said) - loss) <= 0.05 * loss
    assert row(page, "finished").locator("path.tdw-spark-train").get_attribute("d").startswith("M")
    row(page, "finished").locator("[data-column=name]").click()
    page.wait_for_function("window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0")
    assert page.locator(".tdw-item[data-section=open] b").inner_text() == "finished"
    page.go_back()
    page.wait_for_selector(".tdw-run-table:visible")
    page.go_forward()
    page.wait_for_function("tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0")
    page.click("text=All runs")
    page.wait_for_selector(".tdw-run-table:visible")


def test_search_groups_and_order_are_remembered(page, home):
    page.fill(".tdw-search", "weight_decay:0.5 new")
    wait_for(page, "seed-0", "seed-1", "seed-2")
    assert page.locator(".tdw-count").inner_text() == "3 of 6 runs"
    page.click(".tdw-head >> text=model seed")
    assert shown(page) == ["seed-2", "seed-1", "seed-0"]
    page.click(".tdw-head >> text=model seed")
    assert shown(page) == ["seed-0", "seed-1", "seed-2"]
    page.reload()
    page.wait_for_selector(".tdw-rows .tdw-row")
    assert shown(page) == ["seed-0", "seed-1", "seed-2"]
    page.fill(".tdw-search", "nothing:3")
    page.wait_for_selector("text=Runs have no column nothing")
    page.fill(".tdw-search", "xyz")
    page.wait_for_selector("text=No run matches the search")
    page.click("text=Show all runs")
    page.select_option(".tdw-select", "settings")
    page.wait_for_selector(".tdw-group")
    groups = page.locator(".tdw-group").all_inner_texts()
    assert len(groups) == 3
    assert any("weight decay 0.5" in text and "3 runs" in text for text in groups)


def test_columns_are_chosen(page, home):
    page.click("text=Columns")
    page.click(".tdw-context-menu >> text=Path")
    page.click(".tdw-context-menu >> text=Tags")
    page.keyboard.press("Escape")
    heads = page.locator(".tdw-head .tdw-cell").all_inner_texts()
    assert "Path" in heads
    assert "Tags" not in heads
    assert any("model seed" in head for head in heads)


def test_what_happens_to_files_is_seen(page, home, folder):
    (folder / "seed-0.tdw").rename(folder / "renamed.tdw")
    wait_for(page, "finished", "renamed", *(f"seed-{seed}" for seed in range(1, 5)))
    tdw.note(folder / "seed-1.tdw", title="My title", tags=["paper"])
    page.wait_for_selector(".tdw-row >> text=My title")
    (folder / "seed-2.tdw").unlink()
    page.wait_for_selector(".tdw-row.tdw-gone >> text=seed-2")
    assert row(page, "seed-2").locator(".tdw-chip").inner_text() == "not found"
    row(page, "seed-2").locator("[data-column=name]").click()
    page.wait_for_selector(".tdw-home .tdw-reason >> text=is not there")
    row(page, "seed-2").locator("[data-column=task]").click(button="right")
    page.click(".tdw-context-menu >> text=Remove from list")
    row(page, "seed-2").wait_for(state="detached")


def test_several_runs_are_trained_from_the_table(page, home, folder):
    row(page, "seed-1").locator("[data-column=task]").click()
    row(page, "seed-3").locator("[data-column=task]").click(modifiers=["Control"])
    page.wait_for_selector(".tdw-action-bar >> text=2 runs selected")
    page.click(".tdw-action-bar >> text=Train")
    for name in ("seed-1", "seed-3"):
        row(page, name).locator(".tdw-chip", has_text="finished").wait_for(timeout=60_000)
        with tdw.open(folder / f"{name}.tdw") as run:
            assert run.state == "finished"
    assert row(page, "seed-2").locator(".tdw-chip").inner_text() == "new"


def test_the_keyboard_is_enough(page, home):
    page.keyboard.press("/")
    page.keyboard.type("seed")
    wait_for(page, *(f"seed-{seed}" for seed in range(5)))
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.wait_for_selector(".tdw-action-bar >> text=5 runs selected")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowUp")
    active = page.locator(".tdw-row.tdw-active [data-column=name]").inner_text()
    page.keyboard.press("Shift+F10")
    page.wait_for_selector(".tdw-context-menu")
    assert page.evaluate("document.activeElement.textContent") == "Open"
    page.keyboard.press("Enter")
    page.wait_for_function("document.documentElement.dataset.tdwView === 'run'")
    assert page.locator(".tdw-item[data-section=open] b").inner_text() == active


def test_folders_are_browsed_and_removed(page, home, folder):
    other = folder.parent / "other" / "deep"
    other.mkdir(parents=True)
    tdw.create(other / "far.tdw", tdw.configure(**SIZES))
    page.click("text=Add folder")
    page.wait_for_selector(".tdw-picker[open]")
    page.fill(".tdw-picker input", str(folder.parent))
    page.keyboard.press("Enter")
    page.click(".tdw-folder-list >> text=other")
    page.wait_for_function("document.querySelector('.tdw-picker input').value.endsWith('other')")
    page.click("text=Add this folder")
    page.wait_for_selector(".tdw-row >> text=far")
    page.click("text=Add folder")
    page.fill(".tdw-picker input", str(folder / "missing"))
    page.keyboard.press("Enter")
    page.wait_for_selector(".tdw-picker .tdw-reason >> text=does not exist")
    page.click("text=Cancel")
    page.click(f".tdw-drop[aria-label='Do not list {folder}']")
    wait_for(page, "far")


def test_thousands_of_rows_are_not_all_in_the_page(page, home, folder, tiny_run):
    many = folder.parent / "many"
    many.mkdir()
    source = folder / "seed-0.tdw"
    for number in range(150):
        shutil.copy(source, many / f"copy-{number:03}.tdw")
    assert home.do("add_folder", path=str(many))[0] == 200
    page.wait_for_function("document.querySelector('.tdw-count').textContent === '156 runs'", timeout=60_000)
    page.click(".tdw-head >> text=Run")
    page.evaluate("document.querySelector('.tdw-run-table').scrollTop = 2000")
    page.wait_for_function(f"{NAMES}.includes('copy-070')")
    assert 15 < page.locator(".tdw-rows .tdw-row").count() < 60


def test_an_empty_window_offers_the_demo(page, open_window, tmp_path):
    (tmp_path / "work").mkdir()
    enter(page, open_window(cwd=tmp_path / "work"))
    page.click("button >> text=Train the demo")
    page.wait_for_selector(".tdw-item[data-section=open] b >> text=grok-p59")
    page.wait_for_selector(".tdw-train:visible", timeout=60_000)
    page.click(".tdw-item >> text=Stop")
    page.wait_for_selector(".tdw-item >> text=Resume", timeout=60_000)
    with tdw.open(tmp_path / "work" / "grok-p59.tdw") as run:
        assert (run.config.p, run.state) == (59, "unfinished")


def menu(page, name: str, item: str) -> None:
    row(page, name).locator("[data-column=task]").click(button="right")
    page.click(f".tdw-context-menu >> text={item}")


def test_a_run_is_renamed_tagged_and_duplicated(page, home, folder):
    menu(page, "seed-0", "Rename …")
    page.fill("#tdw-question-new", "seed-1")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tdw-picker[open] .tdw-reason >> text=exists")
    page.fill("#tdw-question-new", "best")
    page.keyboard.press("Enter")
    wait_for(page, "best", "finished", *(f"seed-{seed}" for seed in range(1, 5)))
    assert (folder / "best.tdw").exists()
    assert not (folder / "seed-0.tdw").exists()
    menu(page, "best", "Title and tags …")
    page.fill("#tdw-question-title", "The best")
    page.fill("#tdw-question-tags", "paper, p7")
    page.click(".tdw-picker[open] >> text=Save")
    page.wait_for_selector(".tdw-row >> text=The best")
    notes = tdw.note(folder / "best.tdw")
    assert (notes.title, list(notes.tags)) == ("The best", ["paper", "p7"])
    menu(page, "seed-2", "Duplicate")
    row(page, "seed-2-copy").wait_for()
    assert (folder / "seed-2-copy.tdw").exists()


def test_runs_go_to_the_trash_and_come_back(page, home, folder):
    row(page, "seed-1").locator("[data-column=task]").click()
    row(page, "seed-3").locator("[data-column=task]").click(modifiers=["Control"])
    page.keyboard.press("Delete")
    page.wait_for_selector(".tdw-undo >> text=2 runs moved to the trash")
    wait_for(page, "finished", "seed-0", "seed-2", "seed-4")
    assert sorted(path.name for path in folder.glob("*.tdw")) == [
        "finished.tdw",
        "seed-0.tdw",
        "seed-2.tdw",
        "seed-4.tdw",
    ]
    page.click(".tdw-undo >> text=Undo")
    wait_for(page, "finished", *(f"seed-{seed}" for seed in range(5)))
    assert (folder / "seed-3.tdw").exists()


def test_a_run_that_is_written_is_not_deleted(page, home, folder):
    from tdw.project.writer import ProjectWriter

    with ProjectWriter.open(folder / "seed-1.tdw"):
        menu(page, "seed-1", "Move to trash")
        page.wait_for_selector(".tdw-home .tdw-reason >> text=seed-1.tdw")
        assert (folder / "seed-1.tdw").exists()


def test_an_open_run_is_followed_to_its_new_path(page, home, folder):
    row(page, "finished").locator("[data-column=name]").click()
    page.wait_for_function("window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0")
    before = page.url
    (folder / "deep").mkdir()
    (folder / "finished.tdw").rename(folder / "deep" / "moved.tdw")
    page.wait_for_selector(".tdw-item[data-section=open] b >> text=moved")
    page.wait_for_function("tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0")
    assert page.url != before
    assert page.locator("#tdw-state .tdw-message").count() == 0
