"""Many tabs and jobs at once: everything stays responsive, and closing a tab loses nothing."""

from __future__ import annotations

import asyncio
import socket

from tdw.app import server
from tests import loops


def test_answers_are_sent_at_once():
    """A head and a short body are two writes: without this the second waits for the first to be acknowledged."""

    async def accepted() -> int:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                own = transport.get_extra_info("socket")
                answer.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with server._listening(None) as listener:
            serving = await loop.create_server(Protocol, sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                return await answer
            finally:
                writer.close()
                await writer.wait_closed()
                serving.close()
                await serving.wait_closed()

    assert loops.run(accepted()) != 0
