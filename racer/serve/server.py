"""The server process: router, pool and application put together, and the socket."""

import os
import socket
from contextlib import suppress

import uvicorn

from racer.config import ServeConfig
from racer.errors import ConfigError
from racer.pool import Cache, Ledger, Pool, read
from racer.serve.app import build
from racer.serve.guard import Guard

BACKLOG = 2048  # connections that may wait to be accepted
KEEP_ALIVE = 75  # seconds; longer than clients keep idle connections, or one is closed just as a request is sent on it


def application(router, settings: ServeConfig) -> Guard:
    """Return the application that these settings describe; the token and all keys are read from the environment."""
    endpoints = read(settings.pool)
    ledger = Ledger(settings.spend_cap, _file("spend_file", settings.spend_file))
    path = _file("cache", settings.cache)
    pool = Pool(endpoints, ledger, None if path is None else Cache(path, settings.cache_entries))
    router.estimate(["warm up"])  # the first forward pass is slow
    return build(router, pool, settings, _token(settings.token_env))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                                    backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"host={host} port={port} cannot be used ({error.strerror}): choose another port, or an "
                          "address of this machine") from None


def run(app: Guard, listening: socket.socket, deadline: float) -> None:
    """Serve until interrupted; requests under way may finish by their deadline."""
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="on",
                            timeout_keep_alive=KEEP_ALIVE, backlog=BACKLOG,
                            timeout_graceful_shutdown=int(deadline) + 1)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _token(variable: str) -> str | None:
    """Return the token in a variable of the environment, None if it is not set; raise `ConfigError` if it is empty."""
    if (token := os.environ.get(variable)) is not None and not token.strip():
        raise ConfigError(f"the variable {variable} is set and empty, so that anybody could ask: give it a token, or "
                          "unset it to serve without one")
    return token


def _file(key: str, path: str | None) -> str | None:
    if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ConfigError(f"{key}={path}: its folder does not exist; make it first")
    return path
