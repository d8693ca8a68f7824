"""A port of loopback that hands on to another one what comes, and counts it."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from .running import LOOPBACK


class CountingPort:
    """Counts the bytes on all connections to a server, as they are on the wire.

    :param port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        #: Bytes that the server was sent, and that it sent, since the beginning.
        self.sent = self.received = 0
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> CountingPort:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, LOOPBACK, 0), self._loop).result()
        self.port = int(server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(LOOPBACK, self._server_port)
        await asyncio.gather(self._hand_on(reader, forth, 'sent'), self._hand_on(back, writer, 'received'))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(2**16):
                setattr(self, name, getattr(self, name) + len(part))
                writer.write(part)
                await writer.drain()
        writer.close()
