"""A pool of local models that really differ, behind the OpenAI protocol: a small LLM with several prompts, programs.

Its outcomes are real: each model is asked and says what it says. `scripts/local_pool.py` serves it,
`scripts/local_queries.py` writes queries for it; docs/your_own_pool.md goes the whole circle with it.
"""
