"""A stand-in for the ChatGPT upstream: a real process, strict about what it receives, scripted per account.

Start it with ``python -m tests.support.simulator --port 0``; tests use ``tests.support.upstream.start_upstream()``.
It speaks the Responses endpoint (SSE and WebSocket), the model list, the usage page and the OAuth issuer, records
every request with the exact bytes it answered, and is steered over ``/__sim/`` or from the prompt (``<<do:limit>>``).
"""
