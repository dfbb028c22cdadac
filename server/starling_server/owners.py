"""Owners of cached text, and the order of eviction.

Cached text is used for its owner only: otherwise response times would reveal to one client what another has sent. A
busy client evicts its own items before those of others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

STALE_SECONDS = 600.0
"""Seconds without use after which an item is stale and is evicted first."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of cached items, which are not used for other owners."""

    client: str = ""
    """The name of the client's token, or its address if no tokens are required; empty for an in-process service."""
    salt: str = ""
    """Separates the users behind one client, who share its part of the cache."""


ALONE = Owner()
"""The single client of an in-process service."""


def outgoing(clients: Sequence[str], sizes: Sequence[int], idle: float) -> int:
    """Index of the cached item to evict first.

    `clients` and `sizes` describe the items, least recently used first; there is at least one, and the first has been
    unused for `idle` seconds. A stale first item is evicted. Otherwise it is the oldest item of the client whose items
    other than its newest are the largest in total; if every client has one item, the first. A client thereby takes
    from others at most the space of one item.
    """
    newest = {client: at for at, client in enumerate(clients)}
    spare = Counter[str]()
    for at, (client, size) in enumerate(zip(clients, sizes, strict=True)):
        if newest[client] != at:
            spare[client] += size
    if idle > STALE_SECONDS or not spare:
        return 0
    return clients.index(max(spare, key=spare.__getitem__))
