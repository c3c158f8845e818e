"""`codex-lb admin`: the pool from the terminal, over control's gRPC admin API."""
