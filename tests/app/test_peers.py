"""Requests of another user of this machine, who has all secrets but not the user id."""

from __future__ import annotations

import json
import os
import platform
import socket
import struct
import subprocess
import sys

import pytest

from tdw.app.proxy import configured
from tdw.app.socket_owner import TABLES, Peers, owner
from tdw.errors import AppError

pytestmark = pytest.mark.skipif(
    not TABLES[0].exists() or "microsoft" in platform.release().lower(),
    reason="this system does not say whose a connection is",
)
as_another = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can act as another user"
)

# Connects as the user `nobody` and sends its input; `vanish` resets the connection right after.
NOBODY = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
family, port, vanish, request = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "vanish", sys.argv[4]
line = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET)
line.connect(("::ffff:127.0.0.1" if family == "6" else "127.0.0.1", port))
line.sendall(request.encode())
if vanish:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
else:
    print(line.recv(4096).split()[1].decode())
"""


def nobody(window, request: str, *, family: str = "4", vanish: bool = False) -> str:
    said = subprocess.run(
        [sys.executable, "-c", NOBODY, family, str(window.port), "vanish" if vanish else "stay", request],
        capture_output=True, text=True, check=True, cwd="/", timeout=60,
    )  # fmt: skip
    return said.stdout.strip()


def post(window, command: str, **given: str) -> str:
    body = json.dumps(given)
    return (
        f"POST /do/{command} HTTP/1.1\r\nHost: {window.host}\r\nCookie: {window.cookie}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )


@as_another
@pytest.mark.parametrize("family", ["4", "6"])
def test_another_user_is_refused_even_with_the_cookie_or_the_token(window, family):
    get = "GET {} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n"
    assert nobody(window, get.format("/now", window.host, window.cookie), family=family) == "403"
    assert nobody(window, get.format(f"/?token={window.token}", window.host, "a=b"), family=family) == "403"
    assert nobody(window, post(window, "open", path="x"), family=family) == "403"
    assert window.ask("/now", Cookie=window.cookie).status == 200


# Headers with which proxies declare the client. A server that trusts them would accept any client as the owner.
FORWARDING = (
    "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 127.0.0.1, 127.0.0.1", "X-Forwarded-For: ", "X-Forwarded-Proto: http",
    "X-Forwarded-Host: 127.0.0.1", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /", "X-Forwarded: 127.0.0.1",
    "Forwarded: for=127.0.0.1", 'Forwarded: for="[::1]";by=127.0.0.1;host=127.0.0.1;proto=http', "Forwarded-For: 127.0.0.1",
    "X-Real-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "CF-Connecting-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1",
    "X-Cluster-Client-IP: 127.0.0.1", "Fastly-Client-IP: 127.0.0.1", "X-Remote-Addr: 127.0.0.1", "X-Remote-User: root",
    "X-Originating-IP: 127.0.0.1", "Client-IP: 127.0.0.1", "Via: 1.1 127.0.0.1", "X-Original-URL: /now",
    "X-Rewrite-URL: /now", "X-HTTP-Method-Override: GET", "X-Envoy-External-Address: 127.0.0.1", "X-ProxyUser-Ip: 127.0.0.1",
)  # fmt: skip


@as_another
def test_another_user_is_refused_whatever_a_forwarding_header_says(window):
    head = f"GET /now HTTP/1.1\r\nHost: {window.host}\r\nCookie: {window.cookie}\r\n"
    for line in (*FORWARDING, "\r\n".join(FORWARDING)):
        assert nobody(window, f"{head}{line}\r\n\r\n") == "403", line
        with socket.create_connection(("127.0.0.1", window.port)) as own:
            own.sendall(f"{head}{line}\r\n\r\n".encode())
            assert own.recv(4096).split()[1] == b"200", line


def test_the_owner_is_answered_also_over_an_address_of_the_newer_kind(window):
    if not socket.has_ipv6:
        pytest.skip("this system has no IPv6")
    with socket.socket(socket.AF_INET6) as line:
        line.connect(("::ffff:127.0.0.1", window.port))
        line.sendall(f"GET /now HTTP/1.1\r\nHost: {window.host}\r\nCookie: {window.cookie}\r\n\r\n".encode())
        assert line.recv(4096).split()[1] == b"200"


@as_another
def test_another_user_cannot_ask_and_vanish(window, tmp_path, tiny_run):
    assert window.do("open", path=str(tiny_run))[0] == 200
    for _ in range(20):
        nobody(window, post(window, "forget", path=str(tiny_run)), vanish=True)
    library = next(one for one in json.loads(window.get("/now")) if one["type"] == "recent")
    assert str(tiny_run) in {entry["path"] for entry in library["entries"]}


@as_another
def test_another_user_is_let_in_where_that_user_is_named(open_window):
    """As which a proxy runs; its requests are checked like all others."""
    window = open_window("--allow-user", "nobody")
    get = "GET /now HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n"
    assert nobody(window, get.format(window.host, window.cookie)) == "200"
    assert nobody(window, get.format(window.host, "a=b")) == "401"
    assert nobody(window, get.format("evil.example", window.cookie)) == "421"
    with pytest.raises(
        AppError, match=r"^no user of this machine is named 'no-such-user': give the name of the user as"
    ):
        configured(None, [], ["no-such-user"])


def test_a_connection_is_its_owners_until_it_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = listener.getsockname()
        peers = Peers(listener)
        assert peers.supported
        line = socket.create_connection(server)
        client = line.getsockname()
        assert owner(client, server) == os.getuid()
        assert not peers.is_stranger(client)
        assert peers.is_stranger((client[0], client[1] ^ 1)), "nobody's"
        line.sendall(b"x")  # unread, so that the closed socket stays for a while
        line.close()
        assert owner(client, server) is None
        assert peers.is_stranger(client)
        reset = socket.create_connection(server)
        client = reset.getsockname()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        assert peers.is_stranger(client)
        assert peers.is_stranger(None), "gone before anyone could ask"


def test_without_socket_owners_connections_are_accepted(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr("tdw.app.socket_owner.TABLES", (tmp_path / "none",))
        assert not Peers(listener).is_stranger(("127.0.0.1", 1))
        (tmp_path / "empty").write_text("  sl  local_address rem_address\n")
        monkeypatch.setattr("tdw.app.socket_owner.TABLES", (tmp_path / "empty",))
        assert not Peers(listener).is_stranger(("127.0.0.1", 1))
