"""The floor of HTTP: uvicorn as it is installed, answering fixed bytes.

`python -m promint.bench.fixed` reads each body whole and answers success, without a look at it.
It has uvloop and httptools, and nothing of ours.
"""

import json
import sys
from typing import Any

from uvicorn import Config, Server

from promint.web import server
from promint.web.api import Receive, Send

BODY = b'{"data":null,"error":0,"error_text":"Successful operation"}'
HEADERS = [
    (b"content-type", b"application/json; charset=utf-8"),
    (b"content-length", str(len(BODY)).encode()),
    (b"x-request-id", b"0" * 24),
]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read and answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    message = await receive()
    while message.get("more_body", False):
        message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serve on a free port, and say which."""
    listener = server.bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    config = Config(
        application,
        http="httptools",
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
