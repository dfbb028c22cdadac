"""How good suggestions are: engines, metrics as published, confidence intervals. No torch at import.

In: holes and whoever answers. Out: trials, figures, paired differences with intervals, a run's JSON.
May import: `examples`, `sources`, and of the server whatever serves.
"""
