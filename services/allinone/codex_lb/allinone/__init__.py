"""The command line, and the three services in one process for one user."""
