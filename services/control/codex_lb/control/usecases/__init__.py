"""The verbs of control, one per file: load, decide by the domain, save."""
