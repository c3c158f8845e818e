"""The data plane: takes a client's turn, spends it on a leased account, streams the answer."""
