"""gRPC faces of the verbs that gateways and workers use: translation only."""
