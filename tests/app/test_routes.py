"""Routes for data and commands, with requests to a running app."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import tdw


@pytest.fixture
def base(window, tiny_run) -> str:
    status, answer = window.do("open", path=str(tiny_run))
    assert status == 200, answer
    return f"/runs/{answer['key']}"


def test_what_cannot_be_opened_is_told_without_commands_to_type(window, tmp_path):
    text = tmp_path / "notes.tdw"
    text.write_text("not a run" * 20)
    for path, fact in ((text, "lacks the HDF5 signature"), (tmp_path / "missing.tdw", "does not exist")):
        error = window.do("open", path=str(path))[1]["error"]
        assert fact in error
        assert error.endswith("Check the path, or start a new run.")
        assert "`" not in error


def test_the_manifest_says_what_there_is(window, base, tiny_run):
    manifest = json.loads(window.get(f"{base}/manifest"))
    with tdw.open(tiny_run) as run:
        assert manifest["file"] == "tiny.tdw"
        assert manifest["checkpoints"] == run.checkpoints
        assert manifest["epochs"] == len(run.epochs)
        assert manifest["state"] == "finished"
        assert manifest["settings"] == run.config.to_json()
        assert manifest["branched"] is None
        assert manifest["parameters"] == {
            "p": 11,
            "heads": 2,
            "d_mlp": 16,
            "frequencies": 5,
            "order": 11,
            "network": "transformer",
            "activation": "relu",
            "attention_rate": 1.0,
        }
        stored = {name: entry for name, entry in manifest["arrays"].items() if not name.startswith("reduced/")}
        assert stored == run.array_index()
        reduced = manifest["arrays"].keys() - stored.keys()
        assert reduced == {
            name for panel in manifest["panels"] for name in panel["arrays"] if name.startswith("reduced/")
        }
        assert reduced
        assert [panel["name"] for panel in manifest["panels"] if panel["view"] == "Overview"] == [
            "loss",
            "embedding_frequencies",
            "neuron_activations",
            "neuron_frequencies",
        ]
        assert manifest["job"] is None


def test_every_array_is_the_files(window, base, tiny_run):
    with tdw.open(tiny_run) as run:
        index = run.array_index()
        assert len(index) > 10
        for name, entry in index.items():
            whole = run.series(name)
            sent = np.frombuffer(window.get(f"{base}/array/{name}?version={entry['version']}"), entry["dtype"])
            assert sent.tobytes() == whole.tobytes(), name
            rest = window.get(f"{base}/array/{name}?version={entry['version']}&from=3")
            assert rest == np.ascontiguousarray(whole[3:]).tobytes(), name
            assert window.get(f"{base}/array/{name}?from=999999") == b""


def test_neurons_and_scores_rebuild_the_maps(window, base, tiny_run):
    with tdw.open(tiny_run) as run:
        p, heads, checkpoints = 11, 2, len(run.checkpoints)
        tables = np.frombuffer(window.get(f"{base}/neurons?ids=3,15"), "<f4").reshape(checkpoints, 2, 1 + 2 * heads * p)
        scores = np.frombuffer(window.get(f"{base}/scores"), "<f4").reshape(checkpoints, 2, heads, p)
        assert window.get(f"{base}/neurons?ids=3,15&from=4") == tables[4:].tobytes()
        assert window.get(f"{base}/scores?from=4") == scores[4:].tobytes()
        assert window.get(f"{base}/scores?from=9999") == b""
        constant, rest = tables[-1, 1, 0], tables[-1, 1, 1:].reshape(2, heads, p)
        e0, e1 = np.exp(scores[-1, 0])[:, :, None], np.exp(scores[-1, 1])[:, None, :]
        pre = constant + ((e0 * rest[0][:, :, None] + e1 * rest[1][:, None, :]) / (e0 + e1 + 1)).sum(axis=0)
        expected = run.neuron_map(run.checkpoints[-1], 15)
        assert np.abs(np.maximum(pre, 0) - expected).max() < 1e-5 * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/runs/nothing/manifest", "this run is not open"),
        ("{base}/array/nothing", "no stored array is named 'nothing'"),
        ("{base}/array/losses/train?from=-1", "from must be a non-negative integer (got '-1')"),
        ("{base}/array/losses/train?from=x", "from must be a non-negative integer (got 'x')"),
        ("{base}/neurons", "ids must be a non-negative integer (got '')"),
        ("{base}/neurons?ids=1,,2", "ids must be a non-negative integer (got '')"),
        ("{base}/neurons?ids=16", "neuron must be from 0 to 15 (got 16)"),
        ("{base}/neurons?ids=99999999999999999999", "ids must be a non-negative integer"),
    ],
)
def test_what_is_not_there_is_said(window, base, path, sentence):
    answer = window.ask(path.format(base=base), Cookie=window.cookie)
    assert answer.status == 404
    assert sentence in json.loads(answer.body)["error"]


def test_only_files_that_were_opened_have_a_route(window):
    for key in ("../../etc/passwd", "%2e%2e%2f", "/etc/passwd", "x" * 5000):
        assert window.ask(f"/runs/{key}/manifest", Cookie=window.cookie).status == 404


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "no path given"),
        ("{folder}/missing.tdw", "missing.tdw"),
        ("/etc/passwd", "is not a project file"),
        ("a\0b", "null byte"),
        ("x" * 5000, "is not a valid path"),
        ("~nobody-of-that-name/x.tdw", "is not a valid path"),
        ("{folder}/short.tdw", "short.tdw"),
    ],
)
def test_a_refused_file_is_one_sentence(window, tmp_path, path, sentence):
    (tmp_path / "short.tdw").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    status, answer = window.do("open", path=path.format(folder=tmp_path))
    assert status in {404, 409}
    assert sentence in answer["error"]
    assert "\n" not in answer["error"]
    assert "Traceback" not in answer["error"]


def test_a_malformed_command_is_refused(window):
    assert window.do("open", file="x")[0] == 422
    assert window.do("stop", key=3)[0] == 422
    assert window.do("stop", key="nothing") == (404, {"error": "no job is running on this file"})
    assert window.do("train", key="nothing")[0] == 404


def test_assets_are_immutable_and_named_by_their_bytes(window):
    answer = window.ask("/assets/plotly.min.js", Cookie=window.cookie)
    assert answer.status == 200
    assert "immutable" in answer.headers["cache-control"]
    assert len(answer.body) > 1_000_000


# Importing Gradio leaves an event loop behind, so the application lists its routes in a separate process, once as it is
# and once with three more, which must be found too.
LIST_ROUTES = """
import json
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from tdw.app import server, session

def listed(application):
    found, ahead = [], [(route, "") for route in application.routes]
    while ahead:
        route, before = ahead.pop()
        if hasattr(route, "original_router"):  # how newer versions of FastAPI keep an included router
            ahead += [(one, before) for one in route.original_router.routes]
        elif getattr(route, "routes", None):
            ahead += [(one, before + route.path.rstrip("/")) for one in route.routes]
        else:
            found.append([before + route.path, sorted(getattr(route, "methods", None) or ["GET"])])
    return sorted(found)

application, _ = server.build(session.Session())
before = listed(application)
gradio = next(route for route in application.routes if isinstance(route, Mount) and route.path == "")
gradio.app.add_route("/gradio_api/queue/new", lambda request: None, methods=["PUT"])
application.add_api_route("/do/new", lambda: None, methods=["DELETE"])
application.mount("/runs/deep", Starlette(routes=[Mount("/er", routes=[WebSocketRoute("/ws", None), Route("/new", lambda request: None)])]))
print(json.dumps([before, [one for one in listed(application) if one not in before]]))
"""

# Paths that respond to the cookie; all other routes of Gradio are closed.
USED = {
    "/",
    "/assets/NAME",
    "/assets/{path:path}",
    "/do/add_folder",
    "/do/analyze",
    "/do/delete",
    "/do/demo",
    "/do/dismiss",
    "/do/duplicate",
    "/do/forget",
    "/do/note",
    "/do/open",
    "/do/remove_folder",
    "/do/rename",
    "/do/restore",
    "/do/reveal",
    "/do/stop",
    "/do/train",
    "/events",
    "/favicon.ico",
    "/folders",
    "/gradio_api/run/predict",
    "/library",
    "/now",
    "/runs/{key}/array/{name:path}",
    "/runs/{key}/at_checkpoints/{name:path}",
    "/runs/{key}/extremes/{name:path}",
    "/runs/{key}/manifest",
    "/runs/{key}/neurons",
    "/runs/{key}/points/{name:path}",
    "/runs/{key}/scores",
    "/static/{path:path}",
    "/theme.css",
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.fixture(scope="module")
def routes(tmp_path_factory) -> list[tuple[str, list[str]]]:
    environment = {**os.environ, "TDW_STATE_DIR": str(tmp_path_factory.mktemp("routes"))}
    text = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES], env=environment, capture_output=True, text=True, check=True
    ).stdout
    there, added = json.loads(text)
    assert added == [
        ["/do/new", ["DELETE"]],
        ["/gradio_api/queue/new", ["PUT"]],
        ["/runs/deep/er/new", ["GET", "HEAD"]],
        ["/runs/deep/er/ws", ["GET"]],
    ], "a new route would be missed"
    assert len(there) > 80
    return there


def _filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path.replace("{api_name}", "predict"))


def test_no_route_is_open(window, routes):
    """Every route of the app and of Gradio, listed by the application itself, requires the cookie, with any method."""
    cookie = window.cookie
    for path in sorted({_filled(path) for path, _ in routes}):
        for method in METHODS:
            assert window.ask(path, method).status == 401, (method, path)
    for path, methods in routes:
        for method in methods:
            for headers, status in (
                ({"Cookie": cookie, "Origin": "http://evil.example"}, 403),
                ({"Cookie": cookie, "Origin": "null"}, 403),
                ({"Cookie": cookie, "Sec_Fetch_Site": "cross-site"}, 403),
                ({"Cookie": cookie, "Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate"}, 403),
                ({"Cookie": cookie, "host": "evil.example"}, 421),
            ):
                assert window.ask(_filled(path), method, **headers).status == status, (method, path, headers)


def test_no_route_is_there_that_the_window_does_not_use(window, routes):
    """With the cookie, only these respond: a route added by a new version of Gradio fails here."""
    closed = (404, "text/plain")  # our routes answer 404 with JSON
    cookie = window.cookie
    answered = set()
    for path, methods in routes:
        for method in methods:
            answer = window.ask(_filled(path), method, Cookie=cookie)
            if (answer.status, answer.headers.get("content-type")) != closed:
                ours = re.fullmatch(r"/assets/([0-9a-f]{16}/(app|app/home|viewer)/)?[\w.-]+", path)
                answered.add("/assets/NAME" if ours else path.replace("{api_name}", "predict"))
    assert answered == USED


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/vibe-code",
        "/gradio_api/mcp",
        "/docs",
        "/openapi.json",
        "/monitoring",
        "/file=/etc/passwd",
        "/gradio_api/queue/../file=/etc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/static/../../../../../../etc/passwd",
        "/static//etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2fetc%2fpasswd",
        "/assets/..%5c..%5c..%5cetc%5cpasswd",
        "/assets/....//....//....//etc/passwd",
        "/assets/file:///etc/passwd",
        "/assets/http://127.0.0.1:1/",
        "/static/http://127.0.0.1:1/",
        "/gradio_api/file%3D/etc/passwd",
        "/gradio_api/file=..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=https://example.org/",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file={link}",
        "/gradio_api/file={state}/library.json",
        "/assets/{link}",
        "/static/{link}",
        "/gradio_api/stream/x/y/z/playlist.m3u8",
        "/gradio_api/queue/join",
        "/gradio_api/queue/data?session_hash=x",
        "/gradio_api/heartbeat/x",
        "/gradio_api/call/predict",
        "/gradio_api/run/other",
        "/gradio_api/run/predict/..%2f..%2fupload",
        "/gradio_api/component_server",
        "/gradio_api/reset",
        "/gradio_api/cancel",
        "/gradio_api/dev/reload",
        "/%67radio_api/upload",
        "//gradio_api/upload",
        "/./gradio_api/upload",
        "/assets/../gradio_api/upload",
        "/runs/../gradio_api/upload",
        "/do/%2e%2e/gradio_api/upload",
        "/queue/join",
        "/upload",
        "/login",
        "/token",
        "/user",
        "/logout",
        "/config",
        "/manifest.json",
        "/robots.txt",
    ],
)
def test_what_the_window_does_not_use_is_closed(window, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/etc/passwd")
    path = path.format(link=link, state=window.state)
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
        answer = window.ask(path, method, Cookie=window.cookie)
        assert answer.status in {403, 404, 405}
        assert b"root:" not in answer.body
        assert b'"files"' not in answer.body
        assert "location" not in answer.headers


def test_the_event_stream_starts_with_everything(window, base):
    connection = http.client.HTTPConnection("127.0.0.1", window.port, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": window.cookie})
    stream = connection.getresponse()
    assert stream.headers.get_content_type() == "text/event-stream"
    seen = {}
    while not {"jobs", "library", "recent", "run"} <= set(seen):
        line = stream.readline().decode()
        if line.startswith("data: "):
            message = json.loads(line.removeprefix("data: "))
            seen[message["type"]] = message
    connection.close()
    assert f"/runs/{seen['run']['key']}" == base
    assert seen["run"]["state"] == "finished"
    assert seen["recent"]["entries"][0]["name"] == "tiny"


def test_it_says_which_port_is_taken(window, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "tdw", "open", "--no-browser", "--port", str(window.port)],
        env={**os.environ, "TDW_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert re.fullmatch(
        rf"tdw: port {window.port} cannot be used \(.*\): choose another with --port, .*\n", ended.stderr
    )
    assert ended.stdout == ""


def test_a_refused_file_ends_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "tdw", "open", "--no-browser", str(tmp_path / "missing.tdw")],
        env={**os.environ, "TDW_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("tdw: ")


def test_ctrl_c_exits_quietly_with_open_event_streams(open_window, tmp_path, tiny_run):

    shutil.copy(tiny_run, tmp_path / "a.tdw")
    window = open_window(tmp_path / "a.tdw")
    connection = http.client.HTTPConnection("127.0.0.1", window.port, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": window.cookie})
    stream = connection.getresponse()
    assert stream.readline()
    window.process.send_signal(signal.SIGINT)
    assert window.process.wait(15) in {0, 130}
    connection.close()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert [path for path in left if "open-" in path] == []


def test_the_token_is_in_no_list_of_processes_and_no_file(window):
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "tdw open" in listed
    assert window.token not in listed
    for path in window.state.rglob("*"):
        if path.is_file():
            assert window.token.encode() not in path.read_bytes()
