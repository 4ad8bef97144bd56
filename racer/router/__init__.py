"""The base router: text in, probabilities out. Everything here needs torch; nothing above it does."""

from racer.router.router import Router

__all__ = ["Router"]
