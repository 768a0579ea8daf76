"""API tokens on the management API."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from promint.domain.model import Scope, Token
from promint.wire.manage.reading import Id, MomentText, PageQuery, Request
from promint.wire.moments import write_moment

Name = Annotated[
    str, Meta(min_length=1, max_length=255, description="Its name; no other living one has it.")
]
Scopes = Annotated[list[Scope], Meta(description="What it may do.")]
Programs = Annotated[
    list[Id] | None, Meta(description="The only programs that it sees; null for all.")
]
Databases = Annotated[
    list[Id] | None, Meta(description="The only databases that it sees; null for all.")
]


class NewToken(Request, frozen=True, kw_only=True):
    """A token to make."""

    name: Name
    scopes: Annotated[list[Scope], Meta(min_length=1, description="What it may do.")]
    programs: Programs = None
    databases: Databases = None


class TokensQuery(PageQuery, frozen=True, kw_only=True):
    """Which tokens."""

    revoked: Annotated[
        bool, Meta(description="Only revoked ones; without it, only those that live.")
    ] = False


class TokenShown(Struct, frozen=True, kw_only=True):
    """A token without its secret, which is kept nowhere."""

    token_id: Annotated[int, Meta(description="Its id.")]
    name: Name
    scopes: Scopes
    programs: Programs
    databases: Databases
    created: Annotated[MomentText, Meta(description="When it was made.")]
    revoked: Annotated[MomentText, Meta(description="When it was revoked.")] | None


class TokenMade(TokenShown, frozen=True, kw_only=True):
    """A token that was just made, with its secret."""

    token: Annotated[str, Meta(description="The secret. It is shown this once.")]


def token_values(token: Token) -> dict[str, Any]:
    """Return what an answer says of a token, by the names of `TokenShown`."""
    return {
        "token_id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "programs": None if token.programs is None else sorted(token.programs),
        "databases": None if token.databases is None else sorted(token.databases),
        "created": write_moment(token.created_at),
        "revoked": write_moment(token.revoked_at) or None,
    }
