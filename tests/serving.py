"""A server of ours in a thread, in front of a real router and upstreams on loopback."""

import threading
import time
from dataclasses import replace

import uvicorn
from openai import OpenAI
from upstream import Upstream

from racer import Router
from racer.config import ServeConfig
from racer.pool import Cache, Endpoint, Ledger, Pool
from racer.serve import app, server

PRICES = dict(price_in=1.0, price_out=2.0)


def with_sets(router: Router, cut: float = float("inf"), **rule) -> Router:
    """Return a router like `router` whose sets are made by another cut and rule: who is asked is then known."""
    other = Router(router.settings, router.encoder, router.head, router.spend)
    made = router.artifact
    other.artifact = replace(made, rule=replace(made.rule, **rule), calibration=replace(made.calibration, cut=cut))
    other.fingerprint, other.uncertified, other.certificate = router.fingerprint, None, None
    return other


class Serving:
    """Our server, behind a client of the protocol. Use it by `with`."""

    def __init__(self, router: Router, up: Upstream, token: str | None = None, beside: tuple[str, ...] = (),
                 endpoint: dict | None = None, ledger: Ledger | None = None, cache: Cache | None = None, **settings):
        self.endpoint = dict(backoff=0.01, retries=0, timeout=20.0) | PRICES | (endpoint or {})
        self.router, self.up, self.token, self.ledger, self.cache = router, up, token, ledger, cache
        self.names = (*router.models, *beside)
        self.settings = ServeConfig(**dict(run="-", pool="-", deadline=30.0) | settings)

    def __enter__(self) -> "Serving":
        self.pool = Pool([Endpoint(n, n, self.up.base, **self.endpoint) for n in self.names], self.ledger, self.cache)
        self.app = app.build(self.router, self.pool, self.settings, self.token)
        socket = server.listen("127.0.0.1", 0)
        config = uvicorn.Config(self.app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.base = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [socket]}, daemon=True)
        self.thread.start()
        end = time.monotonic() + 10
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.005)
        self.client = OpenAI(base_url=f"{self.base}/v1", api_key=self.token or "any", max_retries=0, timeout=60)
        return self

    def __exit__(self, *_) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()

    def ask(self, text: str = "What is 2+2?", **more):
        """Return the completion of one user message."""
        return self.client.chat.completions.create(model="racer", messages=[{"role": "user", "content": text}], **more)
