"""Before a turn is ours: who calls, what was sent, may it."""
