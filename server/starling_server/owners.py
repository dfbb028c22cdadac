"""Owners of cached text, and the order of eviction.

What is kept of one client is of no use to another, and its presence could be told by the clock. And a client that asks
a lot must not push out what is kept of all others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

STALE_SECONDS = 600.0
"""Seconds without use after which an item is stale and is evicted first."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of a cached item, which is never used for any other owner."""

    client: str = ""
    """A token's name, or an address where there are no tokens; empty where a service is used in its own process."""
    salt: str = ""
    """Distinguishes the users behind one client. They share its cache quota."""


ALONE = Owner()
"""The single client of an in-process service."""


def outgoing(clients: Sequence[str], sizes: Sequence[int], idle: float) -> int:
    """Index of the cached item to evict first, by owner and size.

    They are given least recently used first, at least one, and the first was not used for `idle` seconds. The oldest
    goes of the client that holds most beside its newest; the oldest of all, where every client has but one, or where
    it is stale. So a client never takes more from others than the room for one thing.
    """
    newest = {client: at for at, client in enumerate(clients)}
    spare = Counter[str]()
    for at, (client, size) in enumerate(zip(clients, sizes, strict=True)):
        if newest[client] != at:
            spare[client] += size
    if idle > STALE_SECONDS or not spare:
        return 0
    return clients.index(max(spare, key=spare.__getitem__))
