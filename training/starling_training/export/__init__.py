"""`train-copilot export`: an adapter as a model of its own, and as files for llama.cpp.

In: an adapter and its base. Out: a merged model folder, GGUF files, a card.
May import: `report`, `examples`, `sources`, `starling_server.backends` and `.models`; torch only where it merges.
"""
