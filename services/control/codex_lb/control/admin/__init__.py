"""gRPC faces of the verbs that people and automation use: translation, and the one check of who may."""
