"""Access control with --root-path and --trust-host, request by request."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest

from tdw.app import access, server
from tdw.app import proxy as proxies
from tdw.app.tickets import Tickets
from tdw.errors import AppError
from tests import loops


class Peer:
    def __init__(self, stranger=False):
        self.stranger = stranger

    def is_stranger(self, _client):
        return self.stranger


class Guarded:
    """A guard in front of nothing, and requests to it."""

    def __init__(self, given: proxies.Proxy = proxies.NO_PROXY, *, stranger: bool = False):
        self.tickets = Tickets(1, lambda _line: None, given)
        self.reached: list[dict] = []
        self.guard = access.Guard(
            server.BelowRootPath(self.application, given.root_path) if given.root_path else self.application,
            tickets=self.tickets, peers=Peer(stranger), welcomed=lambda: None, proxy=given,
        )  # fmt: skip

    async def application(self, scope, _receive, send):
        self.reached.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    @property
    def token(self) -> str:
        return self.tickets.address.partition("token=")[2]

    def ask(self, path: str, *, known: bool = True, **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers, body. Underscores in the headers' names are dashes."""
        if known:
            headers["Cookie"] = f"{self.guard.cookie}={self.tickets.cookie}"
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "client": ("127.0.0.1", 2),
            "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()],
        }
        said: list[dict] = []

        async def send(message):
            said.append(message)

        loops.run(self.guard(scope, None, send))
        found = {name.decode(): value.decode() for name, value in said[0]["headers"]}
        return said[0]["status"], found, b"".join(one.get("body", b"") for one in said[1:]).decode()


FAR = "hub.example.org:8443"
TRUSTING = proxies.configured(None, ["Hub.Example.org:8443", "[2001:DB8::1]"], [])


def test_a_trusted_host_is_answered_exactly_in_any_case_over_http_and_https():
    trusting = Guarded(TRUSTING)
    for host in (FAR, FAR.upper(), "[2001:db8::1]", "localhost:5", "127.0.0.1"):
        assert trusting.ask("/now", Host=host)[0] == 204, host
        assert Guarded().ask("/now", Host=host)[0] == (204 if host in {"localhost:5", "127.0.0.1"} else 421), host
    for host in (FAR, FAR.upper()):
        for scheme in ("http", "https"):
            assert trusting.ask("/now", Host=host, Origin=f"{scheme}://{FAR}")[0] == 204
    refused = trusting.ask("/now", Host="hub.example.org", Sec_Fetch_Mode="cors")
    assert refused[0] == 421
    assert json.loads(refused[2])["error"].startswith(
        f"This server answers to 127.0.0.1, localhost, [::1], {FAR} and [2001:db8::1] only."
    )
    assert "--trust-host NAME" in json.loads(refused[2])["error"]


@pytest.mark.parametrize(
    "host",
    ["hub.example.org", "hub.example.org:443", "hub.example.org:84430", f"x.{FAR}", f"{FAR}.", f" {FAR}", f"{FAR},x",
     "hub.example.org.evil.example:8443", "hubxexample.org:8443", "[2001:db8::1]:1", "2001:db8::1", ""],
)  # fmt: skip
def test_what_only_resembles_a_trusted_host_is_refused(host):
    assert Guarded(TRUSTING).ask("/now", Host=host)[0] == 421


@pytest.mark.parametrize(
    "origin",
    ["https://hub.example.org", "https://hub.example.org:443", f"wss://{FAR}", f"https://x.{FAR}", f"https://{FAR}.evil.example",
     f"https://{FAR}/", "https://[2001:db8::1]", "http://localhost:8443", "http://127.0.0.1", "null", "", f"HTTPS://{FAR.upper()}x"],
)  # fmt: skip
def test_another_origin_is_refused_at_a_trusted_host(origin):
    assert Guarded(TRUSTING).ask("/now", Host=FAR, Origin=origin)[0] == 403
    # Nor does trusting a host let its pages use the names of this machine.
    assert Guarded(TRUSTING).ask("/now", Host="localhost:1", Origin=f"https://{FAR}")[0] == 403
    assert Guarded(TRUSTING).ask("/now", Host="localhost:1", Origin="https://localhost:1")[0] == 403


def test_all_other_checks_hold_at_a_trusted_host():
    trusting = Guarded(TRUSTING)
    assert trusting.ask("/now", Host=FAR, known=False)[0] == 401
    assert trusting.ask("/now", Host=FAR, Sec_Fetch_Site="cross-site")[0] == 403
    assert trusting.ask("/now", Host=FAR, Sec_Fetch_Site="same-site")[0] == 403
    assert trusting.ask("/?token=x", Host=FAR, known=False)[0] == 401
    stranger = Guarded(TRUSTING, stranger=True).ask("/now", Host=FAR)
    assert stranger[0] == 403
    assert "let in with --allow-user" in stranger[2]
    assert trusting.ask("/now", Host=FAR)[0] == 204


@pytest.mark.parametrize(
    ("host", "headers", "secure"),
    [
        (FAR, {"Sec_Fetch_Site": "none"}, True),
        (FAR, {}, False),  # http: browsers say this over https, and to this machine
        ("localhost:9001", {"Sec_Fetch_Site": "none"}, False),
    ],
)
def test_the_cookie_is_secure_where_the_browser_uses_https(host, headers, secure):
    trusting = Guarded(TRUSTING)
    status, answered, _ = trusting.ask(f"/?token={trusting.token}", known=False, Host=host, **headers)
    assert (status, "; Secure" in answered["set-cookie"]) == (200 if host == FAR and not headers else 303, secure)


ROOT = "/user/a%40b/proxy/7995"


@pytest.mark.parametrize("before", ["", ROOT])
def test_a_path_is_understood_with_and_without_the_root_path(before):
    """Proxies that remove it, and those that pass it on."""
    below = Guarded(proxies.configured(f"{ROOT}/", [FAR], []))
    status, answered, _ = below.ask(
        f"{before}/?token={below.token}&view=new", known=False, Host=FAR, Sec_Fetch_Site="none"
    )
    assert (status, answered["location"]) == (303, "./?view=new")  # relative: it holds in both cases
    assert answered["set-cookie"].endswith(f"; HttpOnly; SameSite=Strict; Path={ROOT}; Secure")
    for path in ("/", "/now", "/runs/x/array/a%2Fb", "/user", "/user/a%40b/proxy/79950"):
        below.reached.clear()
        assert below.ask(before + path, Host=FAR)[0] == 204
        assert below.reached[0]["path"] == unquote(path)
        if "raw_path" in below.reached[0]:
            assert unquote(below.reached[0]["raw_path"].decode()) == unquote(path)


def test_the_root_path_without_its_slash_leads_to_the_page():
    below = Guarded(proxies.configured(ROOT, [], []))
    status, answered, _ = below.ask(f"{ROOT}?view=new", Host="localhost")
    assert (status, answered["location"], below.reached) == (307, "./7995/?view=new", [])
    # With the token, the cookie comes first.
    status, answered, _ = below.ask(f"{ROOT}?token={below.token}", known=False, Host="localhost")
    assert (status, answered["location"]) == (303, "./7995")
    assert f"Path={ROOT}" in answered["set-cookie"]


@pytest.mark.parametrize(("given", "path"), [("/p", "/p"), ("/p/", "/p"), ("/", ""), (ROOT, ROOT), ("/é".replace("é", "%C3%A9"), "/%C3%A9"), ("/a.b/~c/@d:e", "/a.b/~c/@d:e")])  # fmt: skip
def test_a_root_path_is_taken(given, path):
    assert proxies.configured(given, [], [], server.FIRST_PARTS).root_path == path


@pytest.mark.parametrize(
    "given",
    ["", "p", "//p", "/p//", "/p//q", "/..", "/p/../q", "/p/.", "/%2e%2e/p", "/p/%2E", "/p%2Fq", "/p%5Cq", "/p q", "/p\n", "/p%0a",
     "/p?q", "/p#q", "/p;q", "/p\\q", "/p\"", "/<p>", "/é", "/p%", "/p%zz", "/%ff", "https://h/p", "/" + "p" * 1001],
)  # fmt: skip
def test_a_root_path_that_cannot_be_is_refused(given):
    with pytest.raises(AppError, match=r"^the root path cannot be .*: give the path below which the proxy shows"):
        proxies.configured(given, [], [])


@pytest.mark.parametrize("given", ["/runs", "/assets/x", "/events/", "/gradio_api/p", "/%72uns/x", "/theme.css"])
def test_a_root_path_like_an_address_of_the_server_is_refused(given):
    """A proxy that removes the path asks for /runs/KEY; below /runs that would be /KEY."""
    with pytest.raises(AppError, match="because addresses of tdw itself begin with /"):
        server.reached_through(given, [], [])


@pytest.mark.parametrize("given", ["", "https://h", "h/p", "h:", "h:0", "h:65536", "h:x", "*.h", "h h", "user@h", "h.", ".h", "ü.org", "::1", "h:1:2", "a" * 64, "h\n", "[::1"])  # fmt: skip
def test_a_host_that_cannot_be_is_refused(given):
    with pytest.raises(AppError, match=r"cannot be trusted as a host: give NAME or NAME:PORT"):
        proxies.configured(None, [given], [])


def test_the_first_parts_of_all_addresses_are_reserved():
    assert sorted(server.FIRST_PARTS) == ["assets", "do", "events", "favicon.ico", "folders", "gradio_api", "library", "now", "runs", "static", "theme.css"]  # fmt: skip


def test_the_addresses_through_a_proxy_are_printed_too():
    said: list[str] = []

    def announced(*given):
        said.clear()
        tickets = Tickets(7995, said.append, proxies.configured(*given))
        tickets.announce()
        return [line.replace(tickets.address.partition("token=")[2], "T") for line in said]

    assert announced(None, [], []) == ["http://127.0.0.1:7995/?token=T"]
    assert announced("/p/", ["A.example", "b.example:1"], []) == [
        "http://127.0.0.1:7995/p/?token=T",
        "Through the proxy: https://a.example/p/?token=T (or http://)",
        "Through the proxy: https://b.example:1/p/?token=T (or http://)",
    ]
    assert announced("/p", [], []) == [
        "http://127.0.0.1:7995/p/?token=T",
        "Through a proxy, its name stands in place of 127.0.0.1:7995.",
    ]
