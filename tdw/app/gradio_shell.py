"""The window around the viewer: Gradio's part of the page.

Three things stand side by side in one page that never scrolls: the side bar (`#tdw-side`), the viewer (`#tdw-viewer`)
and, in the viewer's place when wanted, the *New run* form (`#tdw-new`). Lists, states and news are drawn by `shell.js`,
which hears of changes through one event stream; Gradio carries the form, whose refusals are Python's.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from tdw.app import gradio_form
from tdw.app.gradio_calls import Field
from tdw.config import RunConfig, configure
from tdw.errors import TdwError
from tdw.estimate import estimate
from tdw.safe_text import visible
from tdw.setting import Setting

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tdw.app.session import Workbench

SYSTEM_FONT = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
SESSIONS = 16  # page loads that Gradio remembers, each in 120 kB; it would keep 10 000, and nothing in them is needed
IDLE = 1.0  # seconds between looks at Gradio's queue, which nothing here uses; it would look a thousand times a second
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def mount(application: FastAPI, workbench: Workbench, assets: dict[str, str]) -> gr.Blocks:
    """Put the window at `/` of the application; the window. `assets` are the addresses of scripts and styles by name."""
    blocks = window(workbench)
    gr.mount_gradio_app(
        application,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        theme=theme(),
        head=_head(assets),
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return blocks


def calls(blocks: gr.Blocks) -> tuple[dict[int, list[Field]], frozenset[int]]:
    """What the page may ask of Gradio: the fields of each call by its number, and what may cause a call."""
    asked = {number: one for number, one in blocks.fns.items() if one.fn is not None}
    triggers = {source for one in asked.values() for source, _ in one.targets if source is not None}
    return {number: [_field(item) for item in one.inputs] for number, one in asked.items()}, frozenset(triggers)


def _field(item: Any) -> Field:
    """What a component of the form may send."""
    match item:
        case gr.Slider():
            return Field(least=float(item.minimum), most=float(item.maximum))
        case gr.Dropdown():
            return Field(choices=tuple(str(value) for _, value in item.choices))
        case gr.Textbox():
            return Field()
    raise TypeError(f"the form has a {type(item).__name__}: say here what it may send")


def _head(assets: dict[str, str]) -> str:
    """Styles, and a script that loads the others in order: Gradio would add them one by one, in any order, unawaited."""
    styles = [f'<link rel="stylesheet" href="{address}">' for name, address in assets.items() if name.endswith(".css")]
    return f'<script src="{assets["early.js"]}"></script>' + "".join(styles)


def theme() -> gr.themes.Base:
    """Gradio's components in the look of `viewer/tokens.css`, in both themes."""
    look = {
        "body_background_fill": "var(--tdw-bg)",
        "body_text_color": "var(--tdw-ink)",
        "body_text_color_subdued": "var(--tdw-muted)",
        "background_fill_primary": "var(--tdw-surface)",
        "background_fill_secondary": "var(--tdw-bg)",
        "border_color_primary": "var(--tdw-line)",
        "border_color_accent": "var(--tdw-accent)",
        "color_accent_soft": "var(--tdw-accent-soft)",
        "block_background_fill": "transparent",
        "block_border_width": "0px",
        "block_label_text_color": "var(--tdw-ink)",
        "block_title_text_color": "var(--tdw-ink)",
        "block_info_text_color": "var(--tdw-muted)",
        "input_background_fill": "var(--tdw-surface)",
        "input_background_fill_focus": "var(--tdw-surface)",
        "input_border_color": "var(--tdw-line-strong)",
        "input_border_color_focus": "var(--tdw-accent)",
        "input_placeholder_color": "var(--tdw-muted)",
        "input_shadow": "none",
        "input_shadow_focus": "none",
        "slider_color": "var(--tdw-accent)",
        "button_primary_background_fill": "var(--tdw-accent)",
        "button_primary_background_fill_hover": "color-mix(in srgb, var(--tdw-accent) 88%, var(--tdw-ink))",
        "button_primary_border_color": "var(--tdw-accent)",
        "button_primary_text_color": "var(--tdw-on-accent)",
        "button_secondary_background_fill": "var(--tdw-surface)",
        "button_secondary_background_fill_hover": "var(--tdw-bg)",
        "button_secondary_border_color": "var(--tdw-line-strong)",
        "button_secondary_text_color": "var(--tdw-ink)",
        "link_text_color": "var(--tdw-accent)",
        "error_text_color": "var(--tdw-bad)",
    }
    plain = {
        "block_padding": "0px",
        "block_label_padding": "0px",
        "block_radius": "var(--tdw-radius)",
        "block_shadow": "none",
        "block_title_text_weight": "550",
        "block_title_text_size": "12.5px",
        "block_info_text_size": "11.5px",
        "input_padding": "5px 9px",
        "input_radius": "var(--tdw-radius-small)",
        "input_text_size": "13px",
        "input_border_width": "1px",
        "button_small_padding": "4px 10px",
        "button_small_radius": "var(--tdw-radius-small)",
        "button_small_text_size": "13px",
        "button_small_text_weight": "500",
        "button_border_width": "1px",
        "button_primary_shadow": "none",
        "button_secondary_shadow": "none",
        "button_transition": "none",
        "layout_gap": "8px",
        "form_gap_width": "0px",
    }
    base = gr.themes.Base(font=SYSTEM_FONT, font_mono=("ui-monospace", "monospace"), text_size="sm", spacing_size="sm")
    both = {name + "_dark": value for name, value in look.items() if hasattr(base, name + "_dark")}
    return base.set(**look, **both, **plain)


def window(workbench: Workbench) -> gr.Blocks:
    """The whole page as Gradio sees it."""
    with gr.Blocks(title="Training Dynamics Workbench", fill_width=True, analytics_enabled=False) as blocks:
        blocks.state_session_capacity = SESSIONS
        blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = IDLE
        with gr.Row(elem_id="tdw-window"):
            with gr.Column(elem_id="tdw-side"):
                new = gr.Button("New run", variant="primary", size="sm", elem_id="tdw-new-button")
                with gr.Row(elem_id="tdw-open"):
                    path = gr.Textbox(
                        show_label=False,
                        container=False,
                        placeholder="Path (.tdw, .pth, …)",
                        elem_id="tdw-path",
                    )
                    opens = gr.Button("Open", size="sm", elem_id="tdw-open-button")
                _drawn("lists")
            with gr.Column(elem_id="tdw-main"):
                _drawn("viewer")
                _drawn("state")
                with gr.Column(elem_id="tdw-new"):
                    file = _form(workbench)
        for event in (opens.click, path.submit):
            event(None, inputs=path, js="(path) => { tdwShell.openPath(path); }", **QUIET)
        new.click(None, js="() => { tdwShell.newRun(); }", **QUIET)
        # The name written into the page may be taken by now. A free one is left alone: someone may be typing already.
        blocks.load(lambda name: gradio_form.suggestion() if Path(name).exists() else gr.skip(), file, file, **QUIET)
    return blocks


def _drawn(name: str) -> gr.HTML:
    """A component whose inside belongs to `shell.js`: a template that never changes, so that Gradio never redraws it."""
    script = f"(window.tdwParts ||= {{}}).{name} = element; window.tdwShell?.begin();"
    return gr.HTML(html_template="", js_on_load=script, elem_id=f"tdw-{name}", apply_default_css=False)


def _form(workbench: Workbench) -> gr.Textbox:
    """The form; returns its field for the path."""
    first, more = gradio_form.fields()
    shown: dict[str, Any] = {}
    reasons: dict[str, gr.HTML] = {}

    @contextlib.contextmanager
    def field(name: str) -> Iterator[None]:
        """A place for a control, with one for its refusal beneath."""
        with gr.Column(elem_classes="tdw-field", elem_id=f"tdw-field-{name}", min_width=0):
            yield
            reasons[name] = gr.HTML("", elem_classes="tdw-reason", apply_default_css=False)

    def controls(settings: list[Setting]) -> None:
        with gr.Row(elem_classes="tdw-grid"):
            for setting in settings:
                with field(setting.name):
                    shown[setting.name] = _control(setting)

    gr.HTML("<h2>New run</h2>", elem_classes="tdw-heading", apply_default_css=False)
    with gr.Row(elem_id="tdw-form"):
        with gr.Column(elem_id="tdw-fields", min_width=0):
            with field(gradio_form.WHERE):
                shown[gradio_form.WHERE] = gr.Textbox(
                    gradio_form.suggestion(),
                    label="Save as",
                    info="the project file the run is kept in",
                    max_lines=1,
                    elem_id=f"tdw-input-{gradio_form.WHERE}",
                )
            controls(first)
            with gr.Accordion("More settings", open=False, elem_id="tdw-more"):
                controls(more)
        with gr.Column(elem_id="tdw-preview-side", min_width=0):
            preview = gr.HTML(_preview(configure()), elem_id="tdw-preview", apply_default_css=False)
            start = gr.Button("Start training", variant="primary", size="sm", elem_id="tdw-start")
            cancel = gr.Button("Cancel", size="sm", elem_id="tdw-cancel")
            gr.HTML("", elem_id="tdw-start-reason", elem_classes="tdw-reason", apply_default_css=False)
    outcome = gr.HTML(
        "",
        html_template="",
        js_on_load="watch('value', () => tdwShell.outcome(props.value));",
        elem_id="tdw-outcome",
        apply_default_css=False,
    )
    names = list(shown)
    inputs = [shown[name] for name in names]
    number = itertools.count()

    def judge(*values: Any) -> tuple[gradio_form.Verdict, list[str]]:
        typed = dict(zip(names, values, strict=True))
        verdict = gradio_form.check(typed, typed.pop(gradio_form.WHERE))
        return verdict, [_reason(verdict.reasons.get(name)) for name in names]

    def typing(*values: Any) -> list[Any]:
        verdict, said = judge(*values)
        drawn = gr.skip() if verdict.config is None else _preview(verdict.config)
        return [*said, drawn, gr.update(interactive=not verdict.reasons)]

    def starting(*values: Any) -> list[Any]:
        verdict, said = judge(*values)
        answer: dict[str, Any] = {"number": next(number)}  # a repeated answer is an answer too
        if verdict.path is not None:
            try:
                answer["job"] = workbench.train(verdict.path, verdict.arguments).to_json()
            except TdwError as error:
                answer["error"] = str(error)
        # The name is taken now: the form's next run gets another.
        return [*said, json.dumps(answer), gradio_form.suggestion(verdict.path) if "job" in answer else gr.skip()]

    outputs = [reasons[name] for name in names]
    # One event for all fields: with one for each, an answer to what was typed before could come last and stay.
    typed = [control.change for control in inputs]
    gr.on(typed, typing, inputs, [*outputs, preview, start], trigger_mode="always_last", **QUIET)
    start.click(starting, inputs, [*outputs, outcome, shown[gradio_form.WHERE]], **QUIET)
    cancel.click(None, js="() => { tdwShell.cancelNew(); }", **QUIET)
    return shown[gradio_form.WHERE]


def _reason(refusal: str | None) -> str:
    """A refusal beside its field."""
    if refusal is None:
        return ""
    ending = "" if refusal.endswith((".", "?", "!")) else "."
    said = html.escape(visible(refusal[:1].upper() + refusal[1:] + ending))
    return f'<span class="tdw-said" role="alert">{said}</span>'


def _control(setting: Setting) -> Any:
    """The input for one setting. Numbers are typed as text: then a refusal can quote what was typed."""
    about: dict[str, Any] = {
        "label": gradio_form.label(setting),
        "info": setting.help,
        "elem_id": f"tdw-input-{setting.name}",
    }
    if setting.choices:
        return gr.Dropdown(list(setting.choices), value=setting.default, **about)
    if setting.type is float and setting.exclusive and setting.maximum == 1:
        return gr.Slider(0.01, 0.99, value=setting.default, step=0.01, **about)
    return gr.Textbox(setting.text, max_lines=1, **about)


def _preview(settings: RunConfig) -> str:
    """What a run with these settings will keep, cost and take, with its checkpoints along a line."""
    cost = estimate(settings)
    kept = gradio_form.epochs_kept(settings)
    step = max(len(kept) // 400, 1)  # more ticks than pixels say no more
    ticks = "".join(f'<i style="left:{100 * epoch / settings.epochs:.3f}%"></i>' for epoch in kept[::step])
    rows = (
        ("Checkpoints", _whole(cost.checkpoints)),
        ("File", _size(cost.megabytes)),
        ("When analyzed", _size(cost.analyzed_megabytes)),
        ("Training", _duration(cost.seconds)),
        ("Pairs to train on", f"{_whole(settings.train_pairs)} of {_whole(settings.p**2)}"),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    ends = f'<div class="tdw-ends"><span>0</span><span>{_whole(settings.epochs)}</span></div>'
    return f'<dl>{listed}</dl><div class="tdw-ticks">{ticks}</div>{ends}'


def _whole(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def _size(megabytes: float) -> str:
    return (
        f"{megabytes / 1000:.1f} GB"
        if megabytes >= 1000
        else f"{megabytes:.0f} MB"
        if megabytes >= 10
        else f"{megabytes:.1f} MB"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
