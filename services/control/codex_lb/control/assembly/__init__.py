"""The parts of control put together, one side at a time. app.py opens the sides in their order."""
