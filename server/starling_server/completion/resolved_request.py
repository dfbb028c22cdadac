"""A request with every default filled in and its adapter looked up."""

import hashlib
from dataclasses import dataclass

from starling_server.config import Mode, ServiceConfig
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.owners import Owner
from starling_server.schema import CompleteRequest, ContextPiece


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """One request for a suggestion, as the service carries it. Text is as the client sent it."""

    prefix: str
    suffix: str
    adapter: AdapterVersion | None
    """The version that the request began with; None is the bare base."""
    owner: Owner
    session: tuple[Owner, str] | None
    """Session names are per owner: the same name of another owner is another session."""
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    n: int
    mode: Mode
    language: str | None
    comments: bool
    seconds: float
    """Until the deadline."""
    show_prompt: bool
    path: str | None
    """For the log."""
    context: tuple[ContextPiece, ...] = ()
    """Pieces of other files, most important first; none where the prompt has no room for them."""
    repository_tokens: int = 0
    """Max tokens for them."""
    context_digest: str = ""
    """What stands for them in `scope`; empty without any."""

    @property
    def scope(self) -> tuple[object, ...]:
        """Everything but the position that a cached answer depends on."""
        asked = (self.max_tokens, self.mode, self.language, self.comments, self.stop, self.context_digest)
        return (self.session, self.adapter.key if self.adapter else None, *asked)

    @property
    def adapter_name(self) -> str | None:
        """For answers and counts."""
        return self.adapter.name if self.adapter else None

    @property
    def is_repeatable(self) -> bool:
        """Whether the same request again, as editors send with every key, would get the same answer."""
        return self.session is not None and self.temperature == 0 and self.n == 1 and self.max_tokens > 0


def resolved(
    request: CompleteRequest,
    adapter: AdapterVersion | None,
    owner: Owner,
    config: ServiceConfig,
    repository_tokens: int = 0,
) -> ResolvedRequest:
    """`request` of `owner` with the defaults of `config`; `repository_tokens` are for other files at most."""
    context = request.context if repository_tokens else ()
    return ResolvedRequest(
        prefix=request.prefix,
        suffix=request.suffix,
        adapter=adapter,
        owner=owner,
        session=None if request.session is None else (owner, request.session),
        max_tokens=config.max_tokens if request.max_tokens is None else request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=request.stop,
        n=request.n,
        mode=request.mode or config.mode,
        language=request.language,
        comments=request.comments,
        seconds=(request.deadline_ms or config.deadline_ms) / 1e3,
        show_prompt=request.show_prompt,
        path=request.path,
        context=context,
        repository_tokens=repository_tokens,
        context_digest=_digest(context),
    )


def _digest(context: tuple[ContextPiece, ...]) -> str:
    if not context:
        return ""
    made = hashlib.blake2b(digest_size=16)
    for piece in context:
        for part in (piece.path, piece.text):
            content = part.encode("utf-8", "surrogatepass")
            made.update(f"{len(content)}:".encode() + content)
    return made.hexdigest()
