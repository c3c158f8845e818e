"""Keys that spend, in random steps, checked against a model that forgets nothing."""
