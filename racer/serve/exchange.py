"""One request and its response: how far they are, and whether the client is still there."""

import asyncio
from collections.abc import Callable

from starlette.types import Message, Receive, Send

GONE = {"type": "http.disconnect"}


class Exchange:
    """Stands between a server and an application, and hears the client out one message ahead.

    So it is known that a client has hung up while its request waits, or is at work. Of a body that is not whole no more
    is read than the application asks for: what waiting requests hold is bounded. `status` is that of the response, 0
    before it began; `done`: the response was sent; `left`: the client hung up before that.
    """

    def __init__(self, receive: Receive, send: Send):
        self._receive, self._send = receive, send
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(1)
        self.status, self.done, self.left = 0, False, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.done = True
        await self._send(message)

    async def receive(self) -> Message:
        """Return the client's next message; for `listen` beside it."""
        message = await self._ahead.get()
        self._ahead.task_done()
        return message

    async def listen(self, hung_up: Callable[[], None]) -> None:
        """Read until cancelled; call `hung_up` once the client has left before its response was sent."""
        while (message := await self._receive())["type"] != GONE["type"]:
            await self._ahead.put(message)
            if message.get("more_body", False):
                await self._ahead.join()
        if not self.done:  # a server says the same of a client that has got all
            self.left = True
            hung_up()
        while True:
            await self._ahead.put(GONE)
