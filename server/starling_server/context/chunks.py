"""Chunks of a text: runs of lines that end at a blank line where there is one."""

SHORTEST, LONGEST = 12, 20
"""Lines after which a chunk ends at the next blank line, and after which it ends anywhere."""
LONGEST_LINE = 300
"""Max characters kept of a line."""
MOST = 2_000
"""Max chunks of one file."""


def chunks(text: str) -> list[str]:
    """The chunks of a text in order, without blank lines at their ends; blank chunks are left out."""
    made, part = list[str](), list[str]()
    for line in text.split("\n"):
        part.append(line[:LONGEST_LINE].rstrip())
        if len(part) >= LONGEST or (len(part) >= SHORTEST and not part[-1]):
            made.append("\n".join(part).strip("\n"))
            part = []
    made.append("\n".join(part).strip("\n"))
    return [chunk for chunk in made if chunk.strip()][:MOST]
