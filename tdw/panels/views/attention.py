"""The view "Attention": what each head attends to, how much that varies, and with which frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.panels.registry import panel
from tdw.panels.spec import Choice, ColorScale, Companion, CurveSpec, GridSpec, GridView, Line, Quantity

if TYPE_CHECKING:
    from tdw.project.project import Project

VIEW = "Attention"
RIGHT = 60  # margin for the names of lines
LEFT = 52
MEAN, VARIANCE, SHARE = (f"analysis/attention/{name}" for name in ("mean", "variance", "share"))


def head_choice(project: Project) -> Choice:
    """Which head."""
    heads = tuple(f"head {head}" for head in range(project.config.heads))
    return Choice(title="Head", options=heads, plural="Heads")


def tokens(project: Project) -> tuple[str, ...]:
    """The tokens that the last one attends to."""
    return tuple(project.config.network_kind.tokens)


def token_choice(project: Project) -> Choice:
    """Which token."""
    return Choice(title="Token", options=tokens(project), prefix="on ", plural="Tokens")


@panel(GridSpec, view=VIEW, title="Attention", analysis="attention")
def attention(project: Project) -> GridSpec:
    """Mean and variance over all pairs of each head's attention to each token."""

    def view(title: str, array: str, top: float | None, companion: Companion) -> GridView:
        return GridView(
            title=title,
            array=array,
            axes=("y", "x"),
            y="head",
            x=tokens(project),
            scale=ColorScale(top=top),
            quantity=f"{title.lower()} over all pairs",
            value_label=title.lower(),
            value_title=f"{title.lower()} of attention",
            x_title="token",
            show_values=True,
            downward=True,
            companion=companion,
        )

    return GridSpec(
        views=(
            view("Mean", MEAN, 1, Companion(array=VARIANCE, label="variance")),
            view("Variance", VARIANCE, None, Companion(array=MEAN, label="mean")),
        ),
        left=LEFT,
    )


@panel(CurveSpec, view=VIEW, title="Attention over training", analysis="attention")
def attention_history(project: Project) -> CurveSpec:
    """One head's mean attention to each token, or the attention of all heads to one, at every checkpoint."""
    axes = ("head", "token")
    return CurveSpec(
        choices={"head": head_choice(project), "token": token_choice(project)},
        compare=("head", "token"),
        quantities=(
            Quantity(title="Mean attention", axis="mean attention", range=(0, 1), lines=(Line(array=MEAN, axes=axes),)),
            Quantity(
                title="Variance of attention", axis="variance of attention", lines=(Line(array=VARIANCE, axes=axes),)
            ),
        ),
        right=RIGHT,
    )


@panel(GridSpec, view=VIEW, title="Attention frequencies", analysis="attention")
def attention_frequencies(_project: Project) -> GridSpec:
    """Share of the variance of each head's attention to a in each frequency."""
    view = GridView(
        title="Share of variance",
        array=SHARE,
        axes=("x", "y"),
        y="head",
        x="frequency",
        scale=ColorScale(top=1),
        quantity="share of variance of the attention to a",
        value_label="share",
        value_title="share of variance",
        downward=True,
    )
    return GridSpec(views=(view,), left=LEFT)


@panel(GridSpec, view=VIEW, title="Attention frequencies over training", analysis="attention")
def attention_frequency_history(project: Project) -> GridSpec:
    """The same for one head at every checkpoint; or every head's attention to one token, and its variance."""

    def all_heads(title: str, array: str, top: float | None) -> GridView:
        return GridView(
            title=f"{title} of each head",
            heading=f"{title} over training",
            array=array,
            axes=("y", "token"),
            y="head",
            x="checkpoint",
            scale=ColorScale(top=top),
            quantity=f"{title.lower()} over all pairs",
            value_label=title.lower(),
            reading="largest",
            downward=True,
        )

    one_head = GridView(
        title="Frequencies of one head",
        heading="Attention frequencies over training",
        array=SHARE,
        axes=("y", "head"),
        y="frequency",
        x="checkpoint",
        scale=ColorScale(top=1),
        value_label="share",
        value_title="share of variance",
        reading="largest",
    )
    return GridSpec(
        choices={"head": head_choice(project), "token": token_choice(project)},
        views=(
            one_head,
            all_heads("Mean attention", MEAN, 1),
            all_heads("Variance of attention", VARIANCE, None),
        ),
        right=RIGHT,
        left=LEFT,
    )
