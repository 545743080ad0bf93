"""A small server with the app's routes for pages of the viewer alone. `python -m tests.viewer.serving [FILE.tdw]` tries it."""

from __future__ import annotations

import json
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tdw import panels
from tdw.panels import curve_points, extremes, reductions
from tdw.viewer import page

PAGE = """<!doctype html><html data-theme="{theme}"><head><meta charset="utf-8"><title>viewer</title><link rel="icon" href="data:,">{head}
<style>html,body{{height:100%;margin:0}}#side{{position:fixed;inset:0 auto 0 0;width:{side}px;background:var(--tdw-surface);
border-right:1px solid var(--tdw-line);box-sizing:border-box}}#host{{margin-left:{side}px;height:100vh}}</style></head>
<body><div id="side"></div><div id="host"></div><script type="module">
import {{ mount }} from "{entry}"; window.mount = mount;
window.actions = []; document.addEventListener("tdw:action", (event) => window.actions.push(event.detail));
const base = {base}; const events = {events} ? new EventSource("/events") : null;
window.instance = mount(document.getElementById("host"), {{base, events}});
</script></body></html>"""


def manifest(project: Any, job: Any = None) -> dict[str, Any]:
    """What the app tells the viewer of a run."""
    settings = project.config
    described = panels.describe(project)
    return {
        "name": project.path.stem,
        "file": project.path.name,
        "folder": str(project.path.parent),
        "id": project.id,
        **project.notes.to_json(),
        "state": project.state,
        "branched": getattr(project, "branched", None),
        "diverged": getattr(project, "diverged", None),
        "revision": project.revision,
        "settings": settings.to_json(),
        "planned_epochs": project.planned_epochs,
        "epochs": len(project.epochs),
        "checkpoints": project.checkpoints,
        "parameters": {
            "p": settings.p,
            "heads": settings.heads,
            "d_mlp": settings.d_mlp,
            "frequencies": settings.frequencies,
            "order": settings.order,
            "network": settings.network,
            "activation": settings.activation,
            "attention_rate": settings.attention_rate,
        },
        "events": [event._asdict() for event in project.events()],
        "grokking": project.grokking()._asdict(),
        "key_frequencies": _keys(project.key_frequencies()),
        "arrays": panels.array_index(project, described),
        "panels": [panel.to_json() for panel in described],
        "job": job,
    }


def _bytes(numbers: Any) -> tuple[int, str, bytes]:
    return 200, "application/octet-stream", np.ascontiguousarray(numbers).tobytes()


def _keys(found: Any) -> Any:
    return (
        {"rule": "clusters", "frequencies": found, "epoch": 0, "is_stale": False} if isinstance(found, list) else found
    )


class Served:
    """A server on a free port. `runs` by key; `requests` are the paths asked for; `tell` sends news to pages."""

    def __init__(self, port: int = 0, **runs: Any):
        self.runs: dict[str, Any] = runs
        self.jobs: dict[str, Any] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.listeners: list[queue.Queue[str | None]] = []
        self.refusal: str | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def page(self, run: str | None = "made", *, theme: str = "light", side: int = 232, events: bool = True) -> str:
        return f"{self.address}/?run={run or ''}&theme={theme}&side={side}&events={int(events)}"

    def tell(self, message: dict[str, Any]) -> None:
        for listener in list(self.listeners):
            listener.put(json.dumps(message))

    def changed(self, key: str = "made") -> None:
        """Say that a run has changed."""
        project = self.runs[key]
        self.tell({"type": "run", "key": key, "revision": project.revision, "job": self.jobs.get(key)})

    def close(self) -> None:
        for listener in list(self.listeners):
            listener.put(None)
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body for a path."""
        parts = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/":
            run = asked.get("run")
            text = PAGE.format(
                theme=asked.get("theme", "light"),
                side=asked.get("side", "232"),
                events="true" if asked.get("events", "1") == "1" else "false",
                base=json.dumps(f"/runs/{run}" if run else None),
                head=page.head(),
                entry=page.addresses(page.assets())[page.ENTRY],
            )
            return 200, "text/html; charset=utf-8", text.encode()
        if parts.path.startswith("/assets/"):
            where = page.addresses(page.assets())
            asset = next(item for item in page.assets() if where[item.name].partition("?")[0] == f".{parts.path}")
            return 200, asset.media_type, asset.path.read_bytes()
        if self.refusal is not None:
            return 400, "application/json", json.dumps({"error": self.refusal}).encode()
        _, _, key, what, *rest = parts.path.split("/")
        project = self.runs[key]
        with self.lock:
            if what == "manifest":
                return 200, "application/json", json.dumps(manifest(project, self.jobs.get(key))).encode()
            every = slice(*(int(asked[name]) if name in asked else None for name in ("from", "to", "step")))
            name = unquote("/".join(rest))
            if what == "array":
                return _bytes(reductions.series(project, name)[every])
            if what == "extremes":
                rows = reductions.series(project, name)
                return _bytes(extremes.with_rows(extremes.none_yet(rows.shape[1:]), rows))
            if what in ("points", "at_checkpoints"):
                values = reductions.series(project, name)
                start, stop, _ = every.indices(len(values))

                def read(begin: int, end: int) -> Any:
                    return values[begin:end]

                if what == "at_checkpoints":
                    return _bytes(curve_points.at_epochs(read, project.checkpoints[start:], len(values)))
                epochs, kept = curve_points.points(read, start, stop, int(asked["every"]))
                return 200, "application/octet-stream", kept.tobytes() + epochs.astype("<u4").tobytes()
            if what == "neurons":
                return _bytes(project.neuron_tables([int(n) for n in asked["ids"].split(",")])[every].astype("<f4"))
            if what == "scores":
                return _bytes(project.attention_scores()[every].astype("<f4"))
        return 404, "text/plain", b"not found"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.requests.append(self.path)
                try:
                    if self.path == "/events":
                        self.stream()
                        return
                    status, media, body = served.answer(self.path)
                    self.send_response(status)
                    self.send_header("Content-Type", media)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def stream(self) -> None:
                listener: queue.Queue[str | None] = queue.Queue()
                served.listeners.append(listener)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                self.wfile.write(b"retry: 200\n\n")
                self.wfile.flush()
                try:
                    while (message := listener.get()) is not None:
                        self.wfile.write(f"data: {message}\n\n".encode())
                        self.wfile.flush()
                finally:
                    served.listeners.remove(listener)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def main() -> None:
    import tdw
    from tests.viewer.synthetic import Made

    project = tdw.open(sys.argv[1]) if len(sys.argv) > 1 else Made(p=23, d_mlp=96, checkpoints=30)
    served = Served(made=project)
    sys.stdout.write(f"{served.page()}\n")
    sys.stdout.flush()
    served.thread.join()


if __name__ == "__main__":
    main()
