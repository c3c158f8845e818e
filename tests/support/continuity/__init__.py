"""The product in one process and in virtual time, and threads of conversation that are put through faults."""
