"""What ends a command with one sentence instead of a traceback."""

from __future__ import annotations

import errno


class CommandError(Exception):
    """A command cannot do what it was asked. Subclasses say what happened; the text tells a person what to do."""


def sentence_of(error: BaseException) -> str | None:
    """What a person is told, or None for what nobody foresaw."""
    # Imported when something fails, so that `codex-lb --help` need not.
    from codex_lb.control.errors import ControlError
    from codex_lb.kit.settings import ConfigurationError
    from codex_lb.kit.sockets import PortTakenError

    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case CommandError() | ConfigurationError() | ControlError() | PortTakenError():
            return str(error)
        case OSError(errno=errno.ENOSPC):
            return "The disk is full."
        case _:
            return None
