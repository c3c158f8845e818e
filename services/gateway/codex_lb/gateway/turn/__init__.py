"""One turn, whatever its transport: leased, dispatched, relayed, settled."""
