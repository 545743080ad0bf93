"""Changes of an open run's file: the page reports them and shows the present content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.operations import train

pytestmark = pytest.mark.browser

SMALL = {"d_model": 16, "heads": 2, "threads": 1, "train_fraction": 0.6}
NOTICE = ".tdw-notice:not([hidden])"
GONE_ON = "window.tdw && tdw.count > 0 && tdw.painted === tdw.index && tdw.index >= 0"
DRAWN = "(tdw.panel('neuron_activations').slots.find((slot) => slot.neuron === 0) || {}).drawn === tdw.index"


@pytest.fixture
def window(open_window: Any) -> Any:
    """A separate window, because it keeps waiting for files that were deleted by a test."""
    return open_window()


def show(page: Any, window: Any, path: Path) -> None:
    status, answer = window.do("open", path=str(path))
    assert status == 200, answer
    page.goto(window.address)
    page.wait_for_function(GONE_ON)
    page.wait_for_function(DRAWN)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run smaller than the tiny one in all sizes, and one run at three stages of training."""
    folder = tmp_path_factory.mktemp("others")
    small, early, late = (folder / f"{name}.tdw" for name in ("small", "early", "late"))
    tdw.create(small, tdw.configure(p=7, d_mlp=8, epochs=30, checkpoints="0:30:10", **SMALL))
    tdw.train(small)
    tdw.analyze(small)
    tdw.create(early, tdw.configure(p=11, d_mlp=16, epochs=120, checkpoints="0:120:5", **SMALL))
    asked = iter([False] * 60 + [True] * 100)
    train.train(early, stop=lambda: next(asked))
    shutil.copy(early, late)
    tdw.train(late)
    plain = Path(shutil.copy(late, folder / "plain.tdw"))
    tdw.analyze(late)
    with tdw.open(early) as run:
        assert 3 < len(run.checkpoints) < 24
    return {"small": small, "early": early, "late": late, "plain": plain}


def blockwise(new: Path, path: Path) -> Iterator[None]:
    """Overwrite a file in place and truncate it at the end, like `rsync --inplace`."""
    data, size = new.read_bytes(), 64 * 1024
    fd = os.open(path, os.O_RDWR)
    try:
        for at in range(0, len(data), size):
            os.pwrite(fd, data[at : at + size], at)
            yield
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def note(path: Path, title: str) -> None:
    """Like `tdw note`: a new file is built next to the old one and replaces it."""
    with store.open_writer(path) as writer:
        writer.set_notes({"title": title, "tags": [], "remark": ""})


def same_as(page: Any, path: Path) -> None:
    """The page shows this file: its settings, its curve, its checkpoints, its neurons."""
    with tdw.open(path) as run:
        page.wait_for_function(
            f"window.tdw && tdw.count === {len(run.checkpoints)} && tdw.viewer.run.manifest.epochs === {len(run.epochs)}"
        )
        page.wait_for_function(GONE_ON)
        page.wait_for_function(DRAWN)
        index = page.evaluate("tdw.index")
        assert page.evaluate("tdw.viewer.run.manifest.id") == run.id
        assert page.evaluate("tdw.viewer.run.checkpoints") == run.checkpoints
        assert page.evaluate("tdw.panel('neuron_activations').p") == run.config.p
        curve = page.evaluate("[...tdw.viewer.run.array('losses/train').data]")
        assert np.array_equal(curve, run.train_loss)
        for neuron in range(run.config.d_mlp):  # some are dead
            exact = run.neuron_map(run.checkpoints[index], neuron)
            found = page.evaluate(f"tdw.panel('neuron_activations').map({neuron})")
            np.testing.assert_allclose(np.reshape(found, exact.shape), exact, rtol=1e-5, atol=1e-5)
        assert page.evaluate("tdw.panel('neuron_activations').slots.filter((s) => s.visible && s.waiting).length") == 0
        assert page.evaluate("Number(document.querySelector('.tdw-range').max)") == max(run.planned_epochs, 1)


def test_another_run_copied_over_is_shown_and_said(page, window, tmp_path, tiny_run, others):
    path = Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))
    show(page, window, path)
    page.evaluate("tdw.show(20)")
    page.evaluate("tdw.pin(2, 12)")
    page.wait_for_function("tdw.painted === 20")
    shutil.copyfile(others["small"], path)  # into the same file, which is truncated first
    notice = page.locator(NOTICE)
    notice.wait_for()
    assert notice.inner_text().startswith("one.tdw was replaced by another run, shown now.")
    same_as(page, path)
    assert page.evaluate("[tdw.index, tdw.pins]") == [3, [2]], "pins that no longer exist are dropped"
    notice.get_by_role("button", name="Dismiss").click()
    assert page.locator(NOTICE).count() == 0
    page.reload()
    same_as(page, path)
    status, _ = window.do("open", path=str(path))
    assert status == 200
    same_as(page, path)
    shutil.copyfile(tiny_run, path)  # and back: a page at the newest checkpoint follows the newest
    page.locator(NOTICE).wait_for()
    same_as(page, path)
    assert page.evaluate("tdw.index") == 24


def test_an_older_copy_and_a_newer_one_are_shown(page, window, tmp_path, others):
    path = Path(shutil.copy(others["late"], tmp_path / "one.tdw"))
    show(page, window, path)
    page.evaluate("tdw.show(2)")
    shutil.copyfile(others["early"], path)
    page.wait_for_selector(f"{NOTICE} >> text=was replaced by a copy that ends at epoch")
    same_as(page, path)
    assert page.evaluate("tdw.index") == 2
    shutil.copyfile(others["plain"], path)  # the same run, trained further: no notice
    same_as(page, path)
    page.evaluate("tdw.show(10)")
    page.wait_for_function(DRAWN)
    same_as(page, path)


def test_rows_that_were_sent_are_asked_for_again_only_when_they_are_others(page, window, tmp_path, others):
    path = Path(shutil.copy(others["late"], tmp_path / "one.tdw"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/runs/")[-1]))
    show(page, window, path)
    asked.clear()
    note(path, "another file, the same rows")
    page.wait_for_selector(".tdw-title >> text=another file, the same rows")
    page.wait_for_function(DRAWN)
    assert not [url for url in asked if "/manifest" not in url and "/" in url and "/library" not in url], (
        "a note costs no rows"
    )
    assert page.locator(NOTICE).count() == 0
    drifted = tmp_path / "other.tdw"  # the same run, as long, with one different loss
    shutil.copy(others["late"], drifted)
    with store.open_reader(drifted) as reader:
        at = reader._state.layout.extents["losses/train"].offset + 8 * 7
    forged_loss(drifted, at)
    shutil.copyfile(drifted, path)
    page.wait_for_selector(f"{NOTICE} >> text=was replaced by another copy of this run")
    same_as(page, path)


def test_other_weights_at_the_same_checkpoints_are_drawn(page, window, tmp_path, others):
    """A copy of the run that was trained to the same epoch elsewhere, with other values."""
    path, other = (Path(shutil.copy(others["early"], tmp_path / f"{name}.tdw")) for name in ("one", "other"))
    for place, weights in ((path, 0), (other, 2)):
        with store.open_writer(place) as writer:
            epoch = writer.reader.n_epochs + 4
            losses = {name: writer.reader.read(name)[:5] for name in store.LOSSES}
            writer.append(curves=losses, checkpoints=[(epoch, bytes(writer.reader.checkpoint(weights)))])
    show(page, window, path)
    same_as(page, path)
    shutil.copyfile(other, path)
    page.wait_for_selector(f"{NOTICE} >> text=was replaced by another copy of this run")
    same_as(page, path)


def forged_loss(path: Path, at: int) -> None:
    """Change a number in a curve, and the commit records accordingly."""
    from dataclasses import replace
    from zlib import crc32

    from tdw.store.commit_record import BLOCK

    with store.open_reader(path) as reader:
        state = reader._state
        i = state.index("losses/train")
        data = state.read_array("losses/train", 0, state.committed("losses/train"))
        first = at - state.layout.extents["losses/train"].offset
        data[first : first + 8] = np.float64(2.5).tobytes()
        tail = bytes(data[len(data) - len(data) % BLOCK :])
        change = {"crc32": crc32(data), "tail_crc32": crc32(tail)}
        values = {
            name: tuple(value if j == i else old for j, old in enumerate(getattr(state.record, name)))
            for name, value in change.items()
        }
        record = replace(state.record, **values)
        with path.open("r+b") as file:
            file.seek(state.layout.extents["losses/train"].offset)
            file.write(data)
            for slot in (0, 1):
                file.seek(state.layout.slot_offset(slot))
                file.write(record.encode())
                file.seek(state.layout.tails_offset(slot) + i * BLOCK)
                file.write(tail)


def test_a_file_that_is_written_over_block_by_block_is_waited_for(page, window, tmp_path, tiny_run, others):
    path = Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))
    show(page, window, path)
    writing = blockwise(others["small"], path)
    next(writing)
    page.wait_for_selector("text=This file can no longer be read")
    said = page.locator("#tdw-state").inner_text()
    assert (
        "The file has changed and cannot be read at the moment. If it is being copied or replaced, this page continues"
        in said
    )
    assert "file cannot be read now" in page.locator(".tdw-doc .tdw-warn").text_content()
    for _ in writing:
        pass
    page.wait_for_selector("text=This file can no longer be read", state="detached")
    page.wait_for_selector(NOTICE)
    same_as(page, path)
    assert page.locator(".tdw-doc .tdw-warn").count() == 0


def test_a_file_that_goes_and_comes_back(page, window, tmp_path, tiny_run, others):
    path = Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))
    show(page, window, path)
    path.rename(tmp_path / "elsewhere.tdw")
    page.wait_for_selector("text=does not exist anymore: it was moved or renamed. Move it back and this page continues")
    (tmp_path / "elsewhere.tdw").rename(path)
    page.wait_for_selector("text=This file can no longer be read", state="detached")
    same_as(page, path)
    assert page.locator(NOTICE).count() == 0
    assert page.locator(".tdw-doc .tdw-warn").count() == 0
    path.unlink()
    page.wait_for_selector("text=does not exist anymore: it was deleted. Restore it")
    page.reload()  # a page opened meanwhile waits too
    page.wait_for_selector("text=does not exist anymore: it was deleted. Restore it")
    shutil.copy(others["small"], path)
    page.wait_for_selector("text=This file can no longer be read", state="detached")
    same_as(page, path)


def test_training_that_continues_in_a_moved_file_is_not_reported_as_finished(page, open_window, tmp_path):
    path = tmp_path / "one.tdw"
    tdw.create(path, tdw.configure(p=11, d_mlp=16, epochs=1_000_000, checkpoints="0:1000000:100000", **SMALL))
    window = open_window(path)
    page.goto(window.address)
    page.click(".tdw-item[data-section=open] .tdw-action >> text=Train")
    page.wait_for_function("tdw.count > 0")
    path.rename(tmp_path / "moved.tdw")
    page.wait_for_selector("text=Training continues in the moved file")
    (tmp_path / "moved.tdw").rename(path)
    page.wait_for_selector("text=This file can no longer be read", state="detached")
    epochs = page.evaluate("tdw.viewer.run.manifest.epochs")
    page.wait_for_function(f"tdw.viewer.run.manifest.epochs > {epochs}")  # it did
    page.click(".tdw-item[data-section=open] .tdw-action >> text=Stop")
    page.wait_for_selector(".tdw-item[data-section=open] .tdw-action >> text=Resume")


def card(page: Any, title: str) -> Any:
    return page.locator(".tdw-card", has=page.get_by_role("heading", name=title, exact=True))


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def place(path: Path, array: str, row: int = 0) -> int:
    with store.open_reader(path) as reader:
        extent = reader._state.layout.extents[array]
        return int(extent.offset + row * extent.row_nbytes)


def test_results_that_are_damaged_are_said_in_their_card_alone(page, window, tmp_path, tiny_run):
    path = Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))
    at = place(path, "analysis/neuron_frequencies/share", 2) + 1
    flip(path, at)
    show(page, window, path)
    shown = card(page, "Neuron–frequency clusters")
    sentence = "one.tdw is damaged: the bytes of 'analysis/neuron_frequencies/share' do not match their checksum"
    refused = shown.locator(".tdw-state", has_text=sentence)
    refused.wait_for()
    assert page.locator(".tdw-state:visible").count() == 1, "the others are drawn"
    button = shown.get_by_role("button", name="Try again")
    held: list[Any] = []
    page.route("**/manifest", lambda route: held.append(route))  # noqa: PLW0108 (Playwright looks for its signature)
    with page.expect_request("**/manifest"):
        button.click()
    shown.locator(".tdw-state", has_text="Retrying").wait_for()
    held[0].continue_()
    page.unroute("**/manifest")
    refused.wait_for()
    flip(path, at)
    button.click()
    page.wait_for_function("document.querySelectorAll('.tdw-state:not([hidden])').length === 0")
    assert page.evaluate("tdw.probe('neuron_frequencies', 1, 0).value") >= 0


def test_refused_neurons_do_not_leave_empty_frames(page, window, tmp_path, tiny_run):
    path = Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))
    at = place(path, "checkpoints/safetensors", 3) + 1000
    flip(path, at)
    status, answer = window.do("open", path=str(path))
    assert status == 200, answer
    page.goto(window.address)
    page.wait_for_function(GONE_ON)
    shown = card(page, "Neurons")
    shown.locator(".tdw-state >> text=one.tdw is damaged: checkpoint 3 does not match its checksum").wait_for()
    assert page.locator(".tdw-state:visible").count() == 1
    flip(path, at)
    note(path, "changed")  # a new revision: requested again without a click
    page.wait_for_function(DRAWN)
    assert page.locator(".tdw-state:visible").count() == 0
    same_as(page, path)
