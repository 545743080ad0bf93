"""The views behind the first one: what they show equals what is stored, and nothing is fetched before it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tdw import panels
from tdw.analyses import ANALYSES
from tdw.network.kinds import NETWORKS
from tdw.network.parameters import shapes
from tdw.panels import parts, reductions, selection
from tdw.panels.registry import VIEWS
from tdw.panels.spec import CurveSpec
from tests.viewer.conftest import go, press, probe
from tests.viewer.looking import assert_color, choose, menu, plotly_range
from tests.viewer.serving import Served
from tests.viewer.synthetic import Made

pytestmark = pytest.mark.browser

Show = Callable[..., Any]


@pytest.fixture
def made() -> Made:
    """A run of which everything is analyzed that makes sense for it."""
    return Made(everything=True)


def asked(served: Served, since: int = 0) -> set[str]:
    """Names of the arrays that were asked for."""
    return {
        path.split("/array/")[1].split("?")[0].replace("%2F", "/")
        for path in served.requests[since:]
        if "/array/" in path
    }


def named_by(made: Made, view: str) -> set[str]:
    """The arrays that a view's panels name, and the epochs of the analyses they are of."""
    described = panels.describe(made)  # type: ignore[arg-type]
    named = {name for panel in described if panel.header.view == view for name in panel.header.arrays}
    names = {name for name in named if not ANALYSES.get(name.split("/")[1], ANALYSES["loss"]).on_request}
    analyses = {reductions.analysis_of(name) for name in names if name.startswith(("analysis/", "reduced/"))}
    return names | ({f"analysis/{name}/epoch" for name in analyses} & set(made.array_index()))


# ---- tabs ------------------------------------------------------------------------------------------------------


def test_tabs_are_chosen_by_mouse_and_keyboard(show: Show, served: Served) -> None:
    served.runs["other"] = Made(p=7, checkpoints=4, everything=True)
    page = show()
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == list(VIEWS)
    assert page.get_by_role("tablist").get_attribute("aria-label") == "Views"
    assert page.get_by_role("tab", selected=True).all_inner_texts() == ["Overview"]
    tabs.nth(1).click()
    assert page.get_by_role("tab", selected=True).all_inner_texts() == ["Frequencies"]
    assert page.get_by_role("tabpanel").get_attribute("aria-labelledby") == tabs.nth(1).get_attribute("id")
    assert [tab.get_attribute("tabindex") for tab in tabs.all()].count("0") == 1
    index = page.evaluate("window.tdw.index")
    tabs.nth(1).focus()  # a click leads into the view
    for key, view in [("ArrowRight", "Logits"), ("End", "Run"), ("ArrowRight", "Overview"), ("ArrowLeft", "Run")]:
        page.keyboard.press(key)
        assert page.evaluate("window.tdw.tab") == view
        assert page.evaluate("document.activeElement.textContent") == view
        assert page.evaluate("window.tdw.index") == index, "the arrows belong to the tabs while these have the focus"
    page.evaluate("window.instance.open('/runs/other')")
    assert page.evaluate("window.tdw.tab") == "Run"
    assert page.locator(".tdw-card h3").all_inner_texts()[0] == "Events"
    page.locator(".tdw-range").focus()
    press(page, "ArrowLeft", 2)


@pytest.mark.parametrize(
    "settings", [{}, {"network": "deep-transformer", "layers": 8, "checkpoints": 3}], ids=["one layer", "eight layers"]
)
def test_every_view_fits_and_cuts_nothing(show: Show, served: Served, settings: dict[str, Any]) -> None:
    if settings:  # of more lines than there is room for names
        served.runs["made"] = Made(everything=True, **settings)
    page = show()
    for view in VIEWS:
        choose(page, view)
        assert page.evaluate("document.documentElement.scrollHeight") <= 800
        outside = page.evaluate(
            """() => [...document.querySelectorAll(".tdw-plot text, .tdw-overlay span, .tdw-table td, .tdw-table th")].filter((node) => {
              const box = node.getBoundingClientRect(), card = node.closest(".tdw-card").getBoundingClientRect();
              return node.textContent && box.width && !node.hidden && (box.left < card.left || box.right > card.right || box.bottom > card.bottom);
            }).map((node) => node.textContent)"""
        )
        assert outside == [], view
        covered = page.evaluate(
            """() => [...document.querySelectorAll(".tdw-card")].flatMap((card) => {
              const boxes = [...card.querySelectorAll(".tdw-line-label:not([hidden])")].map((node) => [node.textContent, node.getBoundingClientRect()]);
              return boxes.flatMap(([a, x], i) => boxes.slice(0, i).filter(([, y]) => x.top + 1 < y.bottom - 1 && y.top + 1 < x.bottom - 1).map(([b]) => [a, b]));
            })"""
        )
        assert covered == [], view


def test_menus_lie_above_everything_and_within_the_window(show: Show) -> None:
    page = show()
    for view in VIEWS:
        choose(page, view)
        for button in page.locator(".tdw-menu-button:visible").all():
            button.click()
            hidden = page.evaluate(
                """() => [...document.querySelectorAll(".tdw-menu-item")].filter((item) => {
                  const box = item.getBoundingClientRect();
                  const at = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
                  return at !== item || box.right > innerWidth || box.left < 0;
                }).map((item) => item.textContent)"""
            )
            assert hidden == [], (view, button.get_attribute("aria-label"))
            page.keyboard.press("Escape")


# ---- laziness --------------------------------------------------------------------------------------------------


def test_arrays_are_fetched_when_their_view_is_looked_at_and_once(show: Show, served: Served, made: Made) -> None:
    page = show()
    assert asked(served) == named_by(made, "Overview")
    seen = asked(served)
    for view in VIEWS[1:]:
        before = len(served.requests)
        choose(page, view)
        assert asked(served, before) == named_by(made, view) - seen, view
        seen |= named_by(made, view)
    before = len(served.requests)
    for view in VIEWS:
        choose(page, view)
    page.wait_for_load_state("networkidle")
    assert [path for path in served.requests[before:] if "/array/" in path or "/manifest" in path] == []


def test_moving_asks_for_nothing_in_any_view(show: Show, served: Served) -> None:
    page = show()
    for view in VIEWS:
        choose(page, view)
        page.wait_for_load_state("networkidle")
        before = len(served.requests)
        for index in (0, 5, 11, 3):
            go(page, index)
        assert served.requests[before:] == [], view


# ---- numbers ---------------------------------------------------------------------------------------------------


def lines_of(made: Made, name: str) -> list[tuple[str, np.ndarray]]:
    """The lines of a curve panel as the figure's helpers read them: label, one number a checkpoint."""
    described = panels.describe(made)  # type: ignore[arg-type]
    spec = next(panel.spec for panel in described if panel.header.name == name)
    assert isinstance(spec, CurveSpec)
    lines = [line for declared in spec.quantities[0].lines for line in selection.expanded(declared, spec)]
    return [(line.label, selection.values(made, line, spec)[1]) for line in lines]  # type: ignore[arg-type]


def test_curves_over_checkpoints_are_the_stored_numbers_and_the_marker_is_in_step(show: Show, made: Made) -> None:
    page = show()
    seen = set()
    for view in VIEWS[1:]:
        choose(page, view)
        curves = [
            panel.header.name
            for panel in panels.describe(made)  # type: ignore[arg-type]
            if panel.header.view == view and isinstance(panel.spec, CurveSpec)
        ]
        for index in (0, 4, 11):
            go(page, index)
            epoch = made.checkpoints[index]
            for name in curves:
                found = probe(page, name, epoch)
                expected = lines_of(made, name)
                assert found["labels"] == [label for label, _ in expected], name
                for value, (label, numbers) in zip(found["values"], expected, strict=True):
                    wanted = float(numbers[index])
                    assert value == pytest.approx(wanted, nan_ok=True), (name, label)
                assert found["marker"] == pytest.approx(found["x"], abs=0.01), name
                seen.add(name)
    assert {"weight_norms", "stable_rank"} <= seen


@pytest.mark.parametrize("network", NETWORKS)
def test_each_line_of_the_stable_rank_is_of_the_one_matrix_that_it_names(
    show: Show, served: Served, network: str
) -> None:
    made = served.runs["made"] = Made(everything=True, checkpoints=3, d_mlp=12, network=network)
    page = show()
    choose(page, "Weights")
    for index in (0, 2):
        go(page, index)
        found = probe(page, "stable_rank", made.checkpoints[index])
        expected, named = [], []
        for label in found["labels"]:
            *layer, last = label.split(".")
            (name,) = [
                name for name in made.weights[index] if name.endswith(f".{last}") and set(layer) <= set(name.split("."))
            ]
            heads = made.weights[index][name]
            matrix = heads if heads.ndim == 2 else np.concatenate(heads, axis=0 if last == "W_O" else 1)
            expected.append(np.linalg.norm(matrix) ** 2 / np.linalg.norm(matrix, 2) ** 2)
            named.append(name)
        assert found["values"] == pytest.approx(expected, rel=1e-4), named
        assert named == [name for name, shape in shapes(made.config).items() if len(shape) > 1]
        assert found["marker"] == pytest.approx(found["x"], abs=0.01)


def test_tables_of_a_checkpoint_and_over_training_are_the_stored_numbers(show: Show, made: Made) -> None:
    page = show()
    series = made.series
    over = {
        "frequency_history": ("Frequencies", series("analysis/embedding_frequencies/frequency_norms")),
        "logit_history": ("Logits", series("analysis/logit_frequencies/cosine")),
        "excluded_history": ("Losses", series("analysis/excluded_loss/alone")),
        "neuron_clusters": ("Neurons", series("analysis/neuron_clusters/count")),
        "attention_frequency_history": ("Attention", series("analysis/attention/share")[:, :, 0]),
    }
    for name, (view, stored) in over.items():
        choose(page, view)
        for j in (0, 2, 4):
            for index in (0, 5, 10):
                found = probe(page, name, j, index)
                value = float(stored[index, j])
                assert found["value"] == pytest.approx(value, nan_ok=True), name
                if name != "excluded_history" and value >= 0:
                    assert_color(found["pixel"], value / found["top"])
        go(page, 7)
        at = probe(page, name, 0, 7)
        assert at["marker"] == pytest.approx(at["x"], abs=0.01), name
    here = {
        "key_frequencies": ("Frequencies", series("analysis/key_frequencies/key")),
        "logit_spectrum": ("Logits", series("analysis/logit_spectrum/norm")),
        "attention": ("Attention", series("analysis/attention/mean")),
        "attention_frequencies": ("Attention", series("analysis/attention/share").transpose(0, 2, 1)),
    }
    for name, (view, stored) in here.items():
        choose(page, view)
        for index in (0, 6, 11):
            go(page, index)
            for j, i in [(0, 0), (1, 2), (3, 1)]:
                found = probe(page, name, j, i)
                assert found["value"] == pytest.approx(float(stored[index, j, i])), name
                if name in {"key_frequencies", "attention_frequencies"}:
                    assert_color(found["pixel"], found["value"] / found["top"])
    assert plotly_range(page, "attention")["y"] == [3.5, -0.5], "head 0 stands at the top"


def test_the_weight_of_every_head_over_training(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Attention")
    go(page, 7)
    for title, array in [("Mean attention", "mean"), ("Variance of attention", "variance")]:
        menu(page, "Attention frequencies over training", f"{title} of each head")
        stored = made.series(f"analysis/attention/{array}")
        menu(page, "Attention frequencies over training", "b")
        assert page.get_by_role("heading", name=f"{title} over training").count() == 1
        best = stored[7, :, 1].argmax()
        assert page.locator(".tdw-reading").nth(3).inner_text().startswith(f"largest head {best}: ")
        for head in (0, 3):
            for index in (0, 5, 10):
                found = probe(page, "attention_frequency_history", head, index)
                assert found["value"] == pytest.approx(float(stored[index, head, 1]))
                assert_color(found["pixel"], found["value"] / found["top"])
        found = probe(page, "attention_frequency_history", 0, 7)
        assert found["marker"] == pytest.approx(found["x"], abs=0.01)
        assert found["top"] == (1 if array == "mean" else pytest.approx(stored[:, :, 1].max()))
        menu(page, "Attention frequencies over training", "Frequencies of one head")


def test_bars_of_every_frequency_are_the_stored_numbers(show: Show, made: Made) -> None:
    page = show()
    for view, name, array, of in [
        ("Frequencies", "unembedding_frequencies", "unembedding_frequencies/norms", 11),
        ("Logits", "logit_frequencies", "logit_frequencies/cosine", 5),
        ("Losses", "excluded_loss", "excluded_loss/alone", 5),
    ]:
        choose(page, view)
        for index in (1, 11):
            go(page, index)
            stored = made.series(f"analysis/{array}")[index]
            for bar in range(of):
                found = probe(page, name, bar)
                assert found["value"] == pytest.approx(float(stored[bar]), nan_ok=True), name
    reading = page.locator(".tdw-reading").nth(2).inner_text()
    known = np.flatnonzero(~np.isnan(made.series("analysis/excluded_loss/alone")[11])) + 1
    assert f"k = {', '.join(map(str, known))}" in reading
    menu_free = page.get_by_role("button", name="Logit frequencies: options")
    assert menu_free.count() == 0, "cards of other views are gone"


def test_the_map_of_pairs_is_unpacked_and_follows_the_slider(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Run")
    graduated = made.series("analysis/pair_graduation/epoch")[0]
    for a, b in [(0, 0), (3, 7), (10, 10)]:
        assert probe(page, "pair_graduation", a, b)["value"] == graduated[a, b]
    menu(page, "Pair learning epoch", "Correct at this checkpoint")
    correct = made.series("analysis/accuracy/correct")
    for index in (0, 6, 11):
        go(page, index)
        right = np.unpackbits(correct[index])[: 11 * 11].reshape(11, 11)
        for a, b in [(0, 0), (3, 7), (10, 10), (5, 2)]:
            found = probe(page, "pair_graduation", a, b)
            assert found["value"] == right[a, b]
            assert_color(found["pixel"], right[a, b] / 2)
        assert f"{right.sum()} of 121 pairs" in page.locator(".tdw-reading").nth(3).inner_text()


def test_the_path_of_the_weights(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Weights")
    position = made.series("analysis/weight_trajectory/position")[0]
    explained = made.series("analysis/weight_trajectory/explained")[0]
    go(page, 5)
    for index in (0, 5, 11):
        assert probe(page, "weight_trajectory", index)["point"] == pytest.approx(position[0, index, :2].tolist())
    assert probe(page, "weight_trajectory", 5)["pixel"][:3] == [0xD6, 0x33, 0x6C], "the mark is where the slider is"
    assert probe(page, "weight_trajectory", 0)["pixel"][:3] == [0x2F, 0x5B, 0xEA], "behind it in color"
    assert probe(page, "weight_trajectory", 11)["pixel"][:3] == [0xC9, 0xCE, 0xD6], "what is to come is not"
    menu(page, "Weight trajectory", "mlp")
    menu(page, "Weight trajectory", "1 and 3")
    found = probe(page, "weight_trajectory", 7)
    assert found["point"] == pytest.approx(position[3, 7, [0, 2]].tolist())
    assert found["shares"] == pytest.approx(explained[3, [0, 2]].tolist())


def test_events_are_intervals_or_not_reached_or_not_recorded(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Run")
    rows = [probe(page, "events", i) for i in range(4)]
    assert rows[0]["text"] == "220 … 374"
    assert rows[1]["text"] == "541–550"
    assert [row["text"] for row in rows[2:]] == ["not reached", "not recorded"]
    assert [row["x"] for row in rows[2:]] == [None, None]
    go(page, 3)
    reading = page.locator(".tdw-reading").first.inner_text()
    assert reading == "1 of 4 reached · not grokking (300–309 epochs between, 1.36–1.41 × memorizing)"
    choose(page, "Neurons")
    first, last = (made.series(f"analysis/frequency_lottery/{name}")[0] for name in ("first_held", "last_held"))
    held = probe(page, "frequency_lottery", 0)
    assert held["rows"] == (first >= 0).sum()
    assert [held["from"], held["to"]] == [first[held["k"] - 1], last[held["k"] - 1]]


def test_numbers_can_be_compared_with_baselines(show: Show, made: Made) -> None:
    untrained = made.series("analysis/baselines/band")
    known = parts.names(made, "baselines", "quantities")  # type: ignore[arg-type]
    rows = [known.index(f"{matrix}_gini") for matrix in ("embedding", "unembedding")]
    for name, p in (("permutation_baselines", 0.05), ("memorization_baselines", 0.9)):
        made._arrays |= {
            f"analysis/{name}/{array}": values.copy()
            for array in ("band", "p", "epoch")
            for values in [made.series(f"analysis/baselines/{array}")]
        }
        made._arrays[f"analysis/{name}/p"][:] = p
        made._arrays[f"analysis/{name}/band"][:, :, 0] -= 1
        made.covered[name] = 12
    made._arrays["analysis/baselines/p"][:] = 0.01
    made._arrays["analysis/memorization_baselines/p"][11, rows[0]] = 0.05
    page = show()
    choose(page, "Frequencies")
    (band,) = probe(page, "sparsity", 0)["bands"]
    assert band["label"] == "untrained"
    stored = untrained[0][rows]
    assert [band["low"], band["high"]] == pytest.approx([stored[:, 0].min(), stored[:, 2].max()])
    choose(page, "Run")
    for index in (0, 11):
        go(page, index)
        gini = made.series("analysis/sparsity/embedding_gini")[index]
        row = probe(page, "baselines", known.index("embedding_gini"))
        assert row["value"] == pytest.approx(gini)
        low, middle, high = untrained[index][rows[0]]
        marked = index == 11
        p = (0.01, 0.05, 0.05 if marked else 0.9)
        assert [one["p"] for one in row["compared"]] == pytest.approx(list(p))
        assert [one["low"] for one in row["compared"]] == pytest.approx([low, low - 1, low - 1])
        assert [one["high"] for one in row["compared"]] == pytest.approx([high] * 3)
        assert row["judged"] == (("above" if gini > middle else "below") if marked else "")
        share = made.series("analysis/neuron_summary/share")[index]
        dead = made.series("analysis/neuron_summary/dead")[index].astype(bool)
        assert probe(page, "baselines", known.index("neuron_share"))["value"] == pytest.approx(share[~dead].mean())
        text = page.locator(".tdw-card", has=page.locator("table")).inner_text()
        assert f"{int(marked)} of 11 outside all baselines" in text
    del made.covered["memorization_baselines"]
    made.revisions += 1
    page = show()
    choose(page, "Run")
    go(page, 11)
    assert probe(page, "baselines", rows[0])["judged"] == "", "without all baselines nothing is marked"
    text = page.locator(".tdw-card", has=page.locator("table")).inner_text()
    assert "without memorizing networks" in text
    assert "tdw analyze FILE --only memorization_baselines" in text


def test_hovering_tells_the_stored_number(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Logits")
    box = page.locator(".tdw-card").nth(1).locator(".tdw-overlay").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5.1 / 11, box["y"] + box["height"] * 0.7)  # epoch 510, frequency 2
    tip = page.locator(".tdw-tooltip")
    tip.wait_for(state="visible")
    said = tip.inner_text()
    assert said.startswith("frequency 2 epoch 500")
    cosine = made.series("analysis/logit_frequencies/cosine")
    assert float(said.split("similarity ")[1].split()[0].replace("−", "-")) == pytest.approx(
        float(cosine[5, 1]), rel=1e-4
    )
    page.mouse.click(box["x"] + box["width"] * 5.1 / 11, box["y"] + box["height"] * 0.7)
    page.wait_for_function("window.tdw.painted === 5")


# ---- variants --------------------------------------------------------------------------------------------------


def test_variants_are_chosen_by_name_and_stand_side_by_side(show: Show, made: Made) -> None:
    page = show()
    choose(page, "Losses")
    loss = made.series("analysis/restricted_loss/loss")  # choice, rule, variant, side
    go(page, 8)
    found = probe(page, "restricted_loss", 800)
    assert found["labels"] == ["sum directions", "2 × 2 blocks", "3 × 3 blocks", "logit fit"]
    assert found["values"] == pytest.approx(loss[8, 0, 0, :, 2].tolist())
    reading = page.locator(".tdw-reading").nth(1)
    assert reading.inner_text().startswith("by logit cosine · final keys · test · ")
    menu(page, "Restricted loss", "clusters")
    menu(page, "Restricted loss", "each checkpoint")
    menu(page, "Restricted loss", "train pairs")
    assert probe(page, "restricted_loss", 800)["values"] == pytest.approx(loss[8, 1, 2, :, 1].tolist())
    assert reading.inner_text().startswith("by clusters · keys per checkpoint · train · ")
    menu(page, "Restricted loss", "Key sets")
    found = probe(page, "restricted_loss", 800)
    assert found["labels"] == ["last checkpoint", "each checkpoint"]
    assert found["values"] == pytest.approx(loss[8, :, 2, 0, 1].tolist())
    menu(page, "Progress losses", "logit fit")
    menu(page, "Progress losses", "embedding")
    together = made.series("analysis/excluded_loss/together")
    full = made.series("analysis/loss/loss")
    assert probe(page, "progress_losses", 800)["values"] == pytest.approx(
        [full[8, 2], loss[8, 0, 3, 3, 2], together[8, 0, 3]]
    )
    choose(page, "Frequencies")
    menu(page, "Key frequencies", "Over training, by one rule")
    menu(page, "Key frequencies", "neuron maps")
    assert "by neuron maps" in page.locator(".tdw-reading").nth(2).inner_text()
    keys = made.series("analysis/key_frequencies/key")
    assert [probe(page, "key_frequencies", k, 3)["value"] for k in range(5)] == keys[3, 1].tolist()
    choose(page, "Losses")
    assert probe(page, "restricted_loss", 800)["labels"][0] == "last checkpoint", "choices are kept"
