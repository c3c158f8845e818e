"""The encryption key and what it seals: no token leaves control at rest in clear."""
