"""What can go wrong in control, named after what happened; rpcs and admin give each its wire form."""

from __future__ import annotations


class ControlError(Exception):
    """Anything control refuses or cannot do. Subclasses say what happened; the text is a sentence for a person."""


class AccountNotFoundError(ControlError):
    """No account has that id."""


class AccountStateConflictError(ControlError):
    """The account cannot take this step from where it stands."""


class AlertTargetNotFoundError(ControlError):
    """No alert target has that id."""


class RequestNotFoundError(ControlError):
    """The request log has no such line."""


class InvalidQueryError(ControlError):
    """A question that cannot be answered; the text names the field."""


class ApiKeyNotFoundError(ControlError):
    """No API key has that id."""


class InvalidPageTokenError(ControlError):
    """A page token that no list of ours gave."""


class InvalidResourceNameError(ControlError):
    """A resource name of another form than the method takes."""


class InvalidReportError(ControlError):
    """A ticket's report that cannot be understood; the text names the field."""


class InvalidUpdateError(ControlError):
    """A change that cannot be made; the text names the field."""


class InvalidPricesError(ControlError):
    """A price list that cannot be used; the text names the place."""


class InvalidAuthFileError(ControlError):
    """An auth.json that cannot be used; the text names the field."""


class FlowNotFoundError(ControlError):
    """No sign-in has that id."""


class FlowChangedError(ControlError):
    """Somebody else ended or took over the sign-in meanwhile; nothing was stored."""


class TooManyFlowsError(ControlError):
    """As many sign-ins are under way as may be."""


class InvalidCallbackError(ControlError):
    """An address that is not the end of that sign-in; the text says why."""


class OtherSeatError(ControlError):
    """Somebody else signed in than the account that was asked for; nothing was stored."""


class IssuerRefusedError(ControlError):
    """The issuer said no; asking again would not change that."""


class IssuerUnavailableError(ControlError):
    """The issuer did not answer, or not in a way that can be read; a later try may succeed."""


class SignInRefusedError(ControlError):
    """A sign-in link that does not let anybody in, or not any more."""


class WebSessionNotFoundError(ControlError):
    """No web session has that id."""


class KeyRotationRefusedError(ControlError):
    """The encryption key cannot be rotated now."""


class CredentialUnreadableError(ControlError):
    """A sealed credential does not open with any key of this service."""


class WrongKeyError(ControlError):
    """The encryption key is not the one the stored credentials were sealed with."""


class KeyFileError(ControlError):
    """The file with the encryption key cannot be used; the text says why and how to mend it."""


class StoreConflictError(ControlError):
    """A row with that identity is already there."""


class UnstorableError(StoreConflictError):
    """A value the database cannot hold: it will be refused however often it comes."""


class EntriesRefusedError(StoreConflictError):
    """Some of what was handed to the ledger can never be stored; all the rest is committed."""

    def __init__(self, *, lease_ids: frozenset[str], turn_ids: frozenset[str], evidence: int) -> None:
        super().__init__(
            f"{len(lease_ids)} settlements, {len(turn_ids)} turn reports and {evidence} observations cannot be stored"
        )
        self.lease_ids = lease_ids
        self.turn_ids = turn_ids


class InvalidDatabaseUrlError(ControlError):
    """The database's URL is none this service can open; the text shows the forms it can."""


class StoreUnavailableError(ControlError):
    """The database did not answer in time."""


class CoordinationUnavailableError(ControlError):
    """Redis, which says who holds which slot, did not answer in time or has just come back without its memory."""


class MigrationError(ControlError):
    """The database's schema is not what this version needs; the text says which side is newer."""


class RefreshSwitchedOffError(ControlError):
    """What is asked for at once is never done here: a setting switches it off. The text names it."""


class WorkerSilentError(ControlError):
    """No worker did in time what was asked; the text says how far it came."""


class StaleEpochError(ControlError):
    """A write came with a fence that is no longer the newest."""
