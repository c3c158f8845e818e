"""What clients call, one file per family."""
