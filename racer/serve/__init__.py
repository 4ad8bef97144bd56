"""The OpenAI-compatible endpoint in front of a router and its live models."""
