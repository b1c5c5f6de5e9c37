"""What a worker's account imports of a tenant's, and how it is called there. Pure.

    in the tenant's account          in the account of shared workers
    $JS.API.>                        JS.<tenant>.API.>        asked
    $JS.ACK.>                        JS.<tenant>.ACK.>        asked
    $KV.>, $O.>                      JS.<tenant>.KV.>, .O.>   asked
    pf.v1.<tenant>.0.> and others    the same                 asked
    pf.v1.<tenant>.ctl.> and chunk   JS.<tenant>.HEAR.pf...   heard
    $KV.>                            JS.<tenant>.HEAR.$KV...  heard

What names its tenant keeps its name. What is heard gets another one, so that the two ways of a
subject, out and in, do not meet.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from penguiflow_nats.errors import NotImported
from penguiflow_nats.subjects import Names

WORKERS: Final = "WORKERS"
"""The account of workers that serve many tenants over one connection."""
_API: Final = (
    "INFO",
    "STREAM.>",
    *(f"CONSUMER.{verb}.>" for verb in ("CREATE", "DELETE", "INFO", "LIST", "NAMES", "PAUSE")),
)
_API_OF_MANY: Final = ("CONSUMER.MSG.NEXT.>", "DIRECT.GET.>")
_RENAMED: Final = ("$JS.API.", "$JS.ACK.", "$KV.", "$O.")


class Asked(NamedTuple):
    """A subject that is asked over an import."""

    theirs: str
    """In the tenant's account."""
    ours: str
    """In the importing account."""
    has_many_answers: bool


class Import:
    """The names of one tenant over imports.

    Attributes:
        tenant: Whose.
        asked: What is asked, or written to.
        heard: What is heard, as the tenant calls it.
        hear_prefix: First tokens of what is heard.
    """

    __slots__ = ("_parts", "_root", "_token", "asked", "hear_prefix", "heard", "tenant")

    def __init__(self, tenant: str) -> None:
        names = Names(tenant, "any")
        self.tenant = tenant
        self._token = names.tenant_token
        self._root = f"JS.{self._token}."
        self.hear_prefix = f"{self._root}HEAR"
        control = f"{names.root}.ctl.>"
        self.heard = (control, names.chunk_subjects, "$KV.>")
        parts = (names.log_subjects, names.dlq_subjects, names.chunk_subjects, control)
        self._parts = tuple(part.removesuffix(">") for part in parts)
        self.asked = (
            *(self._asked(f"$JS.API.{verb}") for verb in _API),
            *(self._asked(f"$JS.API.{verb}", many=True) for verb in _API_OF_MANY),
            *(self._asked(f"{each}>") for each in _RENAMED[1:]),
            *(Asked(part, part, has_many_answers=False) for part in parts),
        )

    def _asked(self, theirs: str, *, many: bool = False) -> Asked:
        return Asked(theirs, self.to_ask(theirs), many)

    def to_ask(self, subject: str) -> str:
        """What the tenant's subject is called to ask on it, or to write.

        Raises:
            NotImported: it is none of those that are.
        """
        if subject.startswith(_RENAMED):
            return self._root + subject.removeprefix("$JS.").removeprefix("$")
        if subject.startswith(self._parts):
            return subject
        raise NotImported(subject, self.tenant)

    def to_hear(self, subject: str) -> str:
        """What the tenant's subject is called to hear it.

        Raises:
            NotImported: it is none of those that are.
        """
        if subject.startswith(tuple(each.removesuffix(">") for each in self.heard)):
            return f"{self.hear_prefix}.{subject}"
        raise NotImported(subject, self.tenant)

    def theirs(self, subject: str) -> str:
        """What the tenant calls a subject of ours; it may come in lower case."""
        root = self._root
        if subject[: len(root)].lower() != root.lower():
            return subject
        rest = subject[len(root) :]
        kind = rest.partition(".")[0].lower()
        if kind == "hear":
            return rest[len("hear.") :]
        return f"$JS.{rest}" if kind in ("api", "ack") else f"${rest}"


__all__ = ["WORKERS", "Asked", "Import"]
