"""Endpoints: API tokens."""

from promint.domain.errors import AccessDenied, Duplicate, TokenNotFound
from promint.domain.model import Scope, Token
from promint.web.manage.endpoints import Asked, Endpoint, Example
from promint.web.manage.paging import page_by_id
from promint.wire.manage.reading import Page
from promint.wire.manage.tokens import NewToken, TokenMade, TokenShown, TokensQuery, token_values
from promint.wire.moments import write_moment


async def list_tokens(asked: Asked, query: TokensQuery) -> Page[TokenShown]:
    """By id, without their secrets. A narrowed token sees those that are within its rights."""
    found = [
        token for token in await _visible(asked) if (token.revoked_at is not None) == query.revoked
    ]
    page, following = page_by_id(found, query.after, query.limit, lambda token: token.id)
    return Page([TokenShown(**token_values(token)) for token in page], following)


async def create_token(asked: Asked, body: NewToken) -> TokenMade:
    """The secret is in this answer and nowhere else, so no idempotency key is taken.

    The name is taken once: who did not get the answer gets 409 the second time, revokes the token
    and makes another. A narrowed token makes tokens within its own rights only.
    """
    programs = None if body.programs is None else frozenset(body.programs)
    databases = None if body.databases is None else frozenset(body.databases)
    if not _is_within(asked.call.token, programs, databases):
        raise AccessDenied("wider than the token that asks")
    scopes = frozenset(Scope(scope) for scope in body.scopes)
    secret, made = await asked.administration().create_token(body.name, scopes, programs, databases)
    return TokenMade(**token_values(made), token=secret)


async def revoke_token(asked: Asked, token_id: int) -> TokenShown:
    """It is dead everywhere within a second. A token may revoke itself."""
    for token in await _visible(asked):
        if token.id == token_id and token.revoked_at is None:
            break
    else:
        raise TokenNotFound(str(token_id))
    await asked.administration().revoke_token(token.name)
    values = token_values(token)
    return TokenShown(**{**values, "revoked": write_moment(asked.now)})


async def _visible(asked: Asked) -> list[Token]:
    return [
        token
        for token in await asked.means.store.tokens()
        if _is_within(asked.call.token, token.programs, token.databases)
    ]


def _is_within(
    asking: Token, programs: frozenset[int] | None, databases: frozenset[int] | None
) -> bool:
    """Say whether a token that is narrowed so sees nothing that the asking one does not see."""
    return all(
        outer is None or (inner is not None and inner <= outer)
        for inner, outer in ((programs, asking.programs), (databases, asking.databases))
    )


_SHOP = {
    "token_id": 2,
    "name": "shop",
    "scopes": ["codes:issue", "codes:read"],
    "programs": [1],
    "databases": None,
    "created": "2026-11-23T09:00:00Z",
    "revoked": None,
}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/tokens",
        create_token,
        "Make a token",
        "Tokens",
        status=201,
        errors=(Duplicate,),
        example=Example(
            "/tokens",
            {"name": "shop", "scopes": ["codes:read", "codes:issue"], "programs": [1]},
            {**_SHOP, "token": "promint_0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"},
        ),
    ),
    Endpoint(
        "GET",
        "/tokens",
        list_tokens,
        "List tokens",
        "Tokens",
        example=Example("/tokens?after=1&limit=1", answer={"items": [_SHOP], "next": None}),
    ),
    Endpoint(
        "DELETE",
        "/tokens/{token_id}",
        revoke_token,
        "Revoke a token",
        "Tokens",
        errors=(TokenNotFound,),
        example=Example("/tokens/2", answer={**_SHOP, "revoked": "2026-11-23T09:00:00Z"}),
    ),
)
