"""The command line, and the three services in one process for one user."""

from codex_lb.kit.left_out import leave_out, left_out

# Libraries that load rich and pygments where they find them, 6 MB in control: structlog for coloured tracebacks, where ours
# are plain, httpx for a command line of its own, Alembic's templates for errors as web pages.
leave_out("httpx._main")
leave_out("mako.ext.pygmentplugin")
with left_out("rich"):
    import structlog  # noqa: F401 - here, before anybody else does
