"""Quality of suggestions: engines, published metrics, confidence intervals. No torch at import.

In: holes and engines. Out: trials, metrics, paired differences with intervals, a run's JSON.
May import: `examples`, `sources`, and the server's completion service.
"""
