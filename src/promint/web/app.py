"""Puts the applications together: both APIs, the health probes, start and stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from promint.domain.errors import PromintError
from promint.store import Store, StoreError
from promint.web.api import Receive, Send

log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

READY_TIMEOUT_S = 2.0


class App:
    """The ASGI application that the server runs."""

    def __init__(
        self,
        api: Application,
        manage: Application,
        store: Store,
        *,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the applications, and what to do at start and stop."""
        self._api = api
        self._manage = manage
        self._store = store
        self._start = start
        self._stop = stop

    @property
    def failure(self) -> str:
        """Why the process has to end, "" while all is well."""
        return self._store.failure

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Hand a request to the application that it is for."""
        if scope["type"] == "http":
            path = scope["path"]
            if path.startswith("/health/"):
                await self._health(path, send)
            elif path.startswith("/manage/"):
                await self._manage(scope, receive, send)
            else:
                await self._api(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _health(self, path: str, send: Send) -> None:
        """`live`: the process answers. `ready`: its store does too."""
        status, text = 200, "ok"
        if path == "/health/ready":
            try:
                await asyncio.wait_for(self._store.ping(), READY_TIMEOUT_S)
            except (StoreError, PromintError, TimeoutError) as error:
                log.warning("not ready: %s", error)
                status, text = 503, "the store does not answer"
        elif path != "/health/live":
            status, text = 404, "unknown"
        body = f"{text}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except Exception as error:
                    log.exception("the service could not start")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return
