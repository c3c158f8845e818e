"""The command line, and the three services in one process for one user."""

from codex_lb.kit.left_out import leave_out, left_out

# Libraries that load rich and pygments where they find them, 6 MB in control: structlog for coloured tracebacks, where ours
# are plain, httpx for a command line of its own, Alembic's templates for errors as web pages.
leave_out("httpx._main")
leave_out("mako.ext.pygmentplugin")
with left_out("rich"):
    import structlog  # noqa: F401 - unused here: it is loaded now, while rich is left out, so that nobody loads it with rich
