"""Upstream as the gateway sees it: a way to send a request, what may be said in headers, whose a failure is."""
