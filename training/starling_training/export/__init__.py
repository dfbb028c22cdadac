"""`train-copilot export`: writes an adapter as a merged model or as GGUF files for llama.cpp.

In: an adapter and its base. Out: a merged model folder, GGUF files, a model card.
May import: `report`, `examples`, `sources`, `starling_server.backends` and `.models`; torch only for merging.
"""
