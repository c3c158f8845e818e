"""The control plane: accounts, leases, limits and the facts they follow from."""
