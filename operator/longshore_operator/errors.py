"""Every error that the operator raises on purpose.

OperatorError
├── SettingsError            a flag or variable that cannot be used: fix it and start again
├── LoginError               no usable credentials for the API server
├── LeaseLost                another replica leads, or the Lease could not be renewed: exit, start again as a standby
├── WatchEnded               the watcher has stopped although nobody asked it to: exit and start again
├── InvalidResource          an object of ours whose fields cannot be read, whatever stored it
├── UnreadableManifest       a file given to `plan` that holds no Kubernetes objects
├── TemplateRefused          the API server does not accept a Deployment we rendered: say so on its owner
├── BudgetRefused            the same of a PodDisruptionBudget, without which the workers run all the same
└── ApiError                 any answer of the API server that is not a success
    ├── ApiUnavailable           no answer, overload, its own failure, or no login (401): try again later
    ├── ObjectGone               the object (or the whole kind) is not there
    │   └── OwnerGone                … and it is the one that is being visited: forget it
    ├── ObjectConflict           it has changed, or is another one of the same name: read again, decide again
    ├── ApiForbidden             access control or an admission plugin says no
    ├── NamespaceTerminating     the namespace is being deleted, and nothing can be made in it any more
    └── ObjectInvalid            the object itself is refused; the message says why
"""

from __future__ import annotations


class OperatorError(Exception):
    """The root of the tree. ``str()`` of each is one line for a person."""


class SettingsError(OperatorError):
    """A flag or an environment variable that cannot be used."""


class LoginError(OperatorError):
    """No usable credentials for the API server."""


class LeaseLost(OperatorError):
    """This process no longer leads and must stop acting at once."""


class WatchEnded(OperatorError):
    """The watcher has stopped by itself; what it saw last grows stale."""


class InvalidResource(OperatorError):
    """An object of one of our kinds that this version cannot read: stored before a schema became stricter, say."""

    def __init__(self, ref: str, problem: str) -> None:
        super().__init__(f"{ref}: {problem}")
        self.ref = ref  # as "Queue/critical"
        self.problem = problem  # every field that is wrong, and why


class UnreadableManifest(OperatorError):
    """What was given to ``plan`` cannot be read as Kubernetes objects."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source  # the file, and the document in it
        self.problem = problem


class TemplateRefused(OperatorError):
    """The API server refuses a rendered Deployment. ``message`` is its own."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"Deployment {name}: {message}")
        self.name = name
        self.message = message


class BudgetRefused(OperatorError):
    """The API server refuses a rendered PodDisruptionBudget. ``message`` is its own."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"PodDisruptionBudget {name}: {message}")
        self.name = name
        self.message = message


class ApiError(OperatorError):
    """The API server did not do what was asked."""

    def __init__(self, message: str, *, request: str, status: int | None = None, reason: str | None = None) -> None:
        super().__init__(f"{request}: {message}")
        self.message = message  # the API server's own words
        self.request = request  # method and path, for logs
        self.status = status  # HTTP status; None when there was no answer
        self.reason = reason  # the Status object's reason, e.g. AlreadyExists


class ApiUnavailable(ApiError):
    """Try again later, unchanged."""

    def __init__(
        self,
        message: str,
        *,
        request: str,
        status: int | None = None,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, request=request, status=status, reason=reason)
        self.retry_after_s = retry_after_s  # what the server asked for


class ObjectGone(ApiError):
    """404 or 410."""


class OwnerGone(ObjectGone):
    """What was to be written is of the very object that is being visited, and that is not there any more."""

    @classmethod
    def of(cls, error: ObjectGone) -> OwnerGone:
        """The same answer, known to be about the visited object."""
        return cls(error.message, request=error.request, status=error.status, reason=error.reason)


class ObjectConflict(ApiError):
    """409."""


class ApiForbidden(ApiError):
    """403. Not 401, which says nothing about the object: our own credentials have run out."""


class NamespaceTerminating(ApiError):
    """403 because the namespace is on its way out: nobody's fault, and soon over."""


class ObjectInvalid(ApiError):
    """400, 413 or 422."""
