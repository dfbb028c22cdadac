"""`eval-copilot`: is the adapter better than its base, by how much, how sure, and at what latency?

In: a repository, its history, its tests or a public benchmark. Out: a run, shown, kept as JSON and drawn on a page.
May import: `scoring`, `report`, `sources`, `examples`.
"""
