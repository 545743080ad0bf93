"""Our own routes: data for the viewer, events, commands, scripts and styles.

    GET  /runs/KEY/manifest                 what the viewer can draw
    GET  /runs/KEY/array/NAME?ROWS          committed rows, raw little-endian
    GET  /runs/KEY/neurons?ids=3,17&ROWS    closed-form tables of these neurons, a row for each checkpoint
    GET  /runs/KEY/scores?ROWS              attention scores, a row for each checkpoint
    GET  /runs/KEY/extremes/NAME            the least and greatest numbers over all rows, see `tdw.panels.extremes`
    GET  /runs/KEY/points/NAME?every=N      a recorded curve as points, of buckets of N epochs (with from, to)
    GET  /runs/KEY/at_checkpoints/NAME      a recorded curve's values at the checkpoints (with from)
    GET  /library?since=N                   lines of the library that changed after change N; all without it
    GET  /folders?path=FOLDER               the folders and runs in a folder, for the folder browser
    GET  /now                               current messages: jobs, recent files, open runs
    GET  /events                            the same as server-sent events, sent on changes
    GET  /assets/NAME?v=HASH                styles and Plotly, immutable
    GET  /assets/HASH/FOLDER/NAME           ES modules, immutable
    POST /do/open {path} · /do/forget|demo {path} · /do/add_folder|remove_folder {path} · /do/train|analyze|stop|dismiss {key}
    POST /do/rename {key, new} · /do/delete {keys} · /do/restore {paths} · /do/note {key, title, tags, remark} · /do/duplicate|reveal {key}

ROWS are `from=0`, `to=END` (excluded) and `step=1`, each of which may be left out.

An error is `{"error": message}` with status 404 (not found), 409 (not possible now), 413 (body too large), 422 (malformed
request) or 507 (out of memory).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, StrictStr

from tdw.app import browse, file_actions, streamed_rows
from tdw.app.file_actions import OfRun
from tdw.app.json_response import JSONResponse
from tdw.app.open_runs import error_text, typed_path
from tdw.app.session import Session
from tdw.errors import AppError, NotAProjectError, SettingError, TdwError, UnknownNameError
from tdw.viewer import page

FRESH = {"Cache-Control": "no-store"}
BYTES = "application/octet-stream"
STYLES = ("shell.css", "home.css")
PACKED_FROM = 1000  # bytes
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


class AtPath(BaseModel):
    """A command on a typed path."""

    path: StrictStr


def add(application: FastAPI, session: Session) -> dict[str, str]:
    """Add our routes to the application. Returns the addresses of scripts and styles by name."""
    application.add_exception_handler(TdwError, _tdw_error)
    application.add_exception_handler(OSError, _system_error)
    application.add_exception_handler(MemoryError, _out_of_memory)
    application.add_exception_handler(RequestValidationError, _malformed_request)
    application.include_router(_data(session))
    application.include_router(_commands(session))
    application.include_router(file_actions.router(session))
    return _assets(application)


def _tdw_error(_request: Request, error: Exception) -> Response:
    """The response to a `TdwError`. Other errors keep their traceback in the terminal."""
    missing = isinstance(error, AppError | UnknownNameError | NotAProjectError | SettingError)
    return JSONResponse({"error": error_text(error)}, status_code=404 if missing else 409)


def _system_error(_request: Request, error: Exception) -> Response:
    """The response to errors of the disk, permissions, or missing file descriptors."""
    return JSONResponse({"error": error_text(error)}, status_code=409)


def _out_of_memory(_request: Request, _error: Exception) -> Response:
    sentence = "out of memory: close other runs or programs, and try again"
    return JSONResponse({"error": sentence}, status_code=507)


def _malformed_request(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "malformed request: send what this route expects"}, status_code=422)


def _data(session: Session) -> APIRouter:
    router = APIRouter()
    runs = session.runs

    @router.get("/runs/{key}/manifest")
    def manifest(key: str) -> Response:
        with runs.using(key) as run:
            return JSONResponse(run.manifest() | {"job": session.jobs.of(key)}, headers=FRESH)

    @router.get("/runs/{key}/array/{name:path}")
    def array(key: str, name: str, request: Request) -> Response:
        return streamed_rows.response(runs.using(key), lambda run: run.array(name, *_rows(request)), FRESH)

    @router.get("/runs/{key}/neurons")
    def neurons(key: str, request: Request, ids: str = "") -> Response:
        named = [_integer(part, "ids") for part in ids.split(",")]
        return streamed_rows.response(runs.using(key), lambda run: run.neurons(named, *_rows(request)), FRESH)

    @router.get("/runs/{key}/scores")
    def scores(key: str, request: Request) -> Response:
        return streamed_rows.response(runs.using(key), lambda run: run.scores(*_rows(request)), FRESH)

    @router.get("/runs/{key}/extremes/{name:path}")
    def extremes(key: str, name: str) -> Response:
        with runs.using(key) as run:
            return Response(run.extremes(name), media_type=BYTES, headers=FRESH)

    @router.get("/runs/{key}/points/{name:path}")
    def points(key: str, name: str, request: Request) -> Response:
        start, stop, _ = _rows(request)
        every = _integer(request.query_params.get("every", "1"), "every")
        with runs.using(key) as run:
            return Response(run.points(name, every, start, stop), media_type=BYTES, headers=FRESH)

    @router.get("/runs/{key}/at_checkpoints/{name:path}")
    def at_checkpoints(key: str, name: str, request: Request) -> Response:
        with runs.using(key) as run:
            return Response(run.at_checkpoints(name, _rows(request)[0]), media_type=BYTES, headers=FRESH)

    @router.get("/library")
    def library(request: Request) -> Response:
        since = request.query_params.get("since")
        changes = session.library.changes(-1 if since is None else _integer(since, "since"))
        return _packed(JSONResponse(changes | {"server": session.id}, headers=FRESH), request)

    @router.get("/folders")
    def folders(path: str = "") -> Response:
        return JSONResponse(browse.listing(path), headers=FRESH)

    @router.get("/now")
    def now() -> Response:
        return JSONResponse(list(session.look().values()), headers=FRESH)

    @router.get("/events")
    async def events() -> Response:
        return EventSourceResponse(session.hub.stream(), headers=FRESH)

    return router


def _packed(response: Response, request: Request) -> Response:
    """The same response, compressed if the browser takes that."""
    if len(response.body) < PACKED_FROM or "gzip" not in request.headers.get("accept-encoding", ""):
        return response
    response.body = gzip.compress(response.body, 5, mtime=0)
    response.headers["content-encoding"] = "gzip"
    response.headers["content-length"] = str(len(response.body))
    return response


def _commands(session: Session) -> APIRouter:
    router = APIRouter(prefix="/do")
    runs, jobs = session.runs, session.jobs

    def done(key: str | None = None, **more: str) -> Response:
        session.hub.nudge()
        return JSONResponse({"key": key, **more}, headers=FRESH)

    @router.post("/open")
    def open_file(given: AtPath) -> Response:
        folder = session.folder_of_runs(given.path)
        if folder is not None:
            session.library.add_folder(folder)
            return done(path=str(folder))
        key = session.open(given.path)
        with runs.using(key) as run:
            notice = run.take_notice()
        return done(key, path=str(runs.path(key)), **({} if notice is None else {"word": notice}))

    @router.post("/forget")
    def forget(given: AtPath) -> Response:
        session.library.forget(Path(given.path))
        return done()

    @router.post("/add_folder")
    def add_folder(given: AtPath) -> Response:
        session.library.add_folder(typed_path(given.path))
        return done()

    @router.post("/remove_folder")
    def remove_folder(given: AtPath) -> Response:
        session.library.remove_folder(Path(given.path))
        return done()

    @router.post("/demo")
    def train_demo(given: AtPath) -> Response:
        return JSONResponse({"job": session.demo(given.path).to_json()}, headers=FRESH)

    @router.post("/train")
    def train(given: OfRun) -> Response:
        return done(session.train(runs.path(given.key)).key)

    @router.post("/analyze")
    def analyze(given: OfRun) -> Response:
        return done(jobs.start("analyze", runs.path(given.key)).key)

    @router.post("/stop")
    def stop(given: OfRun) -> Response:
        jobs.stop(given.key)
        return done(given.key)

    @router.post("/dismiss")
    def dismiss(given: OfRun) -> Response:
        jobs.dismiss(given.key)
        return done(given.key)

    return router


def _files() -> list[page.Asset]:
    """The viewer's files and the shell's."""
    here = Path(__file__).parent
    return [
        *page.assets(),
        *(page.Asset(name, here / name, "text/css") for name in STYLES),
        *page.modules(here),
        *page.modules(here / "home", "app/home"),
    ]


def addresses() -> dict[str, str]:
    """Where styles and scripts are served, by name."""
    return page.addresses(_files())


def _assets(application: FastAPI) -> dict[str, str]:
    """Serve scripts and styles under addresses that contain their hash.

    One route for each, because Gradio serves its own under `/assets/` too.
    """
    files = _files()
    where = page.addresses(files)
    for asset in files:
        application.get(where[asset.name].partition("?")[0].removeprefix("."))(_asset(asset.path, asset.media_type))
    modules = [where[asset.name] for asset in files if asset.is_module]
    early = _EARLY % tuple(map(json.dumps, (modules, where[page.PLOTLY], where["app/shell.js"])))
    application.get("/assets/early.js")(lambda: Response(early, media_type="text/javascript", headers=IMMUTABLE))
    return {**where, "early.js": f"./assets/early.js?v={hashlib.blake2b(early.encode(), digest_size=8).hexdigest()}"}


# Sets the theme before anything is drawn, to avoid a flash of the light theme; then loads Plotly and the shell. All modules
# are preloaded, so that imports do not wait for one another.
_EARLY = """"use strict";
{
  const set = localStorage.getItem("tdw-theme");
  const dark = set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const add = (tag, attributes) => document.head.append(Object.assign(document.createElement(tag), attributes));
  for (const href of %s) add("link", { rel: "modulepreload", href });
  add("script", { src: %s, async: false });
  add("script", { src: %s, async: false, type: "module" });
}
"""


def _asset(path: Path, media_type: str) -> Callable[[], Response]:
    def asset() -> Response:
        return FileResponse(path, media_type=media_type, headers=IMMUTABLE)

    return asset


def _rows(request: Request) -> tuple[int, int | None, int]:
    """From which row, to which (excluded; None for the last) and at which step: a page requests only rows that it needs."""
    given = request.query_params
    stop = _integer(given["to"], "to") if "to" in given else None
    return _integer(given.get("from", "0"), "from"), stop, _integer(given.get("step", "1"), "step")


def _integer(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise AppError(f"{name} must be a non-negative integer (got {text[:40]!r})")
    return int(text)
