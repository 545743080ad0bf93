"""The window around the viewer: Gradio's part of the page.

The page has a side bar (`#tdw-side`), the viewer (`#tdw-viewer`) and, in place of the viewer, the *New run* form
(`#tdw-new`). Lists and states are drawn by `shell.js`, which gets changes through one event stream; Gradio provides the
form, which is checked in Python.
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
from tdw.text_format import duration, integer, sentence, size

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tdw.app.session import Session

SYSTEM_FONT = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
SESSIONS = 16  # page loads that Gradio keeps in memory, 120 kB each (default: 10 000); they are not needed
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def mount(application: FastAPI, session: Session, assets: dict[str, str], root_path: str = "") -> gr.Blocks:
    """Mount the window at `/` of the application.

    assets: addresses of scripts and styles by name
    root_path: the path below which a proxy shows the window
    """
    blocks = window(session)
    gr.mount_gradio_app(
        application,
        blocks,
        path="/",
        root_path=root_path or None,
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
    """The valid calls to Gradio: the fields of each call by its number, and the components that may trigger one."""
    functions = {number: function for number, function in blocks.fns.items() if function.fn is not None}
    triggers = {source for function in functions.values() for source, _ in function.targets if source is not None}
    fields = {number: [_field(component) for component in function.inputs] for number, function in functions.items()}
    return fields, frozenset(triggers)


def _field(component: Any) -> Field:
    """What a component of the form may send."""
    match component:
        case gr.Slider():
            return Field(least=float(component.minimum), most=float(component.maximum))
        case gr.Dropdown():
            return Field(choices=tuple(str(value) for _, value in component.choices))
        case gr.Textbox():
            return Field()
    raise TypeError(f"unknown form component {type(component).__name__}: declare here what it may send")


def _head(assets: dict[str, str]) -> str:
    """Styles, and a script that loads the others in order; Gradio would load them in any order."""
    styles = [f'<link rel="stylesheet" href="{address}">' for name, address in assets.items() if name.endswith(".css")]
    return f'<script src="{assets["early.js"]}"></script>' + "".join(styles)


def theme() -> gr.themes.Base:
    """Gradio's components in the design of `viewer/tokens.css`, light and dark."""
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


class Window(gr.Blocks):
    """A page whose events are all called directly, so Gradio's queue, which polls a thousand times a second, is not run."""

    def run_startup_events(self) -> None:
        """Start what the events need, without the queue."""
        self.is_running = True
        self.create_limiter()  # type: ignore[no-untyped-call]


def window(session: Session) -> gr.Blocks:
    """The page as Gradio sees it."""
    with Window(title="Training Dynamics Workbench", fill_width=True, analytics_enabled=False) as blocks:
        blocks.state_session_capacity = SESSIONS
        with gr.Row(elem_id="tdw-window"):
            with gr.Column(elem_id="tdw-side"):
                new = gr.Button("New run", variant="primary", size="sm", elem_id="tdw-new-button")
                with gr.Row(elem_id="tdw-open"):
                    path = gr.Textbox(
                        label="Path of a file to open",  # for screen readers
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
                _drawn("home")
                with gr.Column(elem_id="tdw-new"):
                    file = _form(session)
        for event in (opens.click, path.submit):
            event(None, inputs=path, js="(path) => { tdwShell.openPath(path); }", **QUIET)
        new.click(None, js="() => { tdwShell.newRun(); }", **QUIET)
        # The name in the page may be taken since. A free one is kept, because the user may be typing already.
        blocks.load(lambda name: gradio_form.suggestion() if Path(name).exists() else gr.skip(), file, file, **QUIET)
    return blocks


def _drawn(name: str) -> gr.HTML:
    """A component that `shell.js` draws: its template never changes, so Gradio never redraws it."""
    script = f"(window.tdwParts ||= {{}}).{name} = element; window.tdwShell?.begin();"
    return gr.HTML(html_template="", js_on_load=script, elem_id=f"tdw-{name}", apply_default_css=False)


def _form(session: Session) -> gr.Textbox:
    """Build the form. Returns its field for the path."""
    first, more = gradio_form.fields()
    shown: dict[str, Any] = {}
    errors: dict[str, gr.HTML] = {}

    @contextlib.contextmanager
    def field(name: str) -> Iterator[None]:
        """A control with its error message below."""
        with gr.Column(elem_classes="tdw-field", elem_id=f"tdw-field-{name}", min_width=0):
            yield
            errors[name] = gr.HTML("", elem_classes="tdw-reason", apply_default_css=False)

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
                    info="project file of the run",
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

    def check(*values: Any) -> tuple[gradio_form.FormCheck, list[str]]:
        typed = dict(zip(names, values, strict=True))
        result = gradio_form.check(typed, typed.pop(gradio_form.WHERE))
        return result, [_error(result.errors.get(name)) for name in names]

    def typing(*values: Any) -> list[Any]:
        result, messages = check(*values)
        drawn = gr.skip() if result.config is None else _preview(result.config)
        return [*messages, drawn, gr.update(interactive=not result.errors)]

    def starting(*values: Any) -> list[Any]:
        result, messages = check(*values)
        answer: dict[str, Any] = {
            "number": next(number)
        }  # makes equal outcomes different, so that each one triggers an event
        if result.path is not None:
            try:
                answer["job"] = session.train(result.path, result.arguments).to_json()
            except TdwError as error:
                answer["error"] = str(error)
        # The name is taken now: suggest another one for the next run.
        return [*messages, json.dumps(answer), gradio_form.suggestion(result.path) if "job" in answer else gr.skip()]

    outputs = [errors[name] for name in names]
    # One event for all fields: with one per field, the result for an earlier input could arrive last and stay.
    typed = [control.change for control in inputs]
    gr.on(typed, typing, inputs, [*outputs, preview, start], trigger_mode="always_last", **QUIET)
    start.click(starting, inputs, [*outputs, outcome, shown[gradio_form.WHERE]], **QUIET)
    cancel.click(None, js="() => { tdwShell.cancelNew(); }", **QUIET)
    return shown[gradio_form.WHERE]


def _error(message: str | None) -> str:
    """An error message below its field."""
    if message is None:
        return ""
    return f'<span class="tdw-said" role="alert">{html.escape(visible(sentence(message)))}</span>'


def _control(setting: Setting) -> Any:
    """The control for one setting. Numbers are text fields, so that an error can quote the input."""
    options: dict[str, Any] = {
        "label": gradio_form.label(setting),
        "info": setting.help,
        "elem_id": f"tdw-input-{setting.name}",
    }
    if setting.choices:
        return gr.Dropdown(list(setting.choices), value=setting.default, **options)
    if setting.type is float and setting.exclusive and setting.maximum == 1:
        return gr.Slider(0.01, 0.99, value=setting.default, step=0.01, **options)
    return gr.Textbox(setting.text, max_lines=1, **options)


def _preview(settings: RunConfig) -> str:
    """Estimates for a run with these settings, and its checkpoints along a line."""
    cost = estimate(settings)
    kept = gradio_form.epochs_kept(settings)
    step = max(len(kept) // 400, 1)  # at most one tick per pixel
    ticks = "".join(f'<i style="left:{100 * epoch / settings.epochs:.3f}%"></i>' for epoch in kept[::step])
    rows = (
        ("Checkpoints", integer(cost.checkpoints)),
        ("Size when trained", size(cost.megabytes)),
        ("With all analyses", size(cost.analyzed_megabytes)),
        ("Training time", duration(cost.seconds)),
        ("Training pairs", f"{integer(settings.train_pairs)} of {integer(settings.p**2)}"),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    ends = f'<div class="tdw-ends"><span>0</span><span>{integer(settings.epochs)}</span></div>'
    return f'<dl>{listed}</dl><div class="tdw-ticks">{ticks}</div>{ends}'
