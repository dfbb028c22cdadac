"""From a repository to an adapter and a report on what it is worth."""
