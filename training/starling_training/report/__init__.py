"""The reports of a run: pages, Markdown, plots, the model card, the manifest.

In: scores, trials, the inventory of sources, a curve. Out: text and files beside the weights.
May import: `scoring`, `fit`, `publish`, `sources`, `starling_server.models`.
"""
