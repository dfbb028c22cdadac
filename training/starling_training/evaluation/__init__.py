"""`eval-copilot`: compares an adapter with its base, with confidence intervals and latencies.

In: a repository, its history, its tests or a public benchmark. Out: a run, printed, saved as JSON and as a page.
May import: `scoring`, `report`, `sources`, `examples`.
"""
