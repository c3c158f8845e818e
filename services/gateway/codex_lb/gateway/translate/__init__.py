"""Between the dialects of clients and the one upstream speaks. Pure."""
