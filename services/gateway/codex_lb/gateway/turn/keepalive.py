"""What a waiting client is sent so that neither it nor anything between gives up (clients reference, fact 4)."""

# Codex's idle timer ignores comments; any data event resets it, and unknown ones are skipped.
CODEX_KEEPALIVE = b'event: codex.keepalive\ndata: {"type":"codex.keepalive"}\n\n'
# The SDKs' stream helpers fail on a data event before `response.created`; comments are fine with all of them.
COMMENT_KEEPALIVE = b": keepalive\n\n"
