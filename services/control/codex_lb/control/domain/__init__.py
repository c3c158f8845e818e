"""Rules of the control plane as functions of values: no clock, no I/O, no SQL, no protobuf."""
