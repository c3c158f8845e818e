"""What can go wrong in control, named after what happened; rpcs and admin give each its wire form."""

from __future__ import annotations


class ControlError(Exception):
    """Anything control refuses or cannot do. Subclasses say what happened; the text is a sentence for a person."""


class AccountNotFoundError(ControlError):
    """No account has that id."""


class AccountStateConflictError(ControlError):
    """The account cannot take this step from where it stands."""


class InvalidAuthFileError(ControlError):
    """An auth.json that cannot be used; the text names the field."""


class CredentialUnreadableError(ControlError):
    """A sealed credential does not open with any key of this service."""


class WrongKeyError(ControlError):
    """The encryption key is not the one the stored credentials were sealed with."""


class StoreConflictError(ControlError):
    """A row with that identity is already there."""


class StoreUnavailableError(ControlError):
    """The database did not answer in time."""


class MigrationError(ControlError):
    """The database's schema is not what this version needs; the text says which side is newer."""


class StaleEpochError(ControlError):
    """A write came with a fence that is no longer the newest."""
