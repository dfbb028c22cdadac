"""`train-copilot export`: writes an adapter as a merged model or as GGUF files for llama.cpp.

Input: an adapter and its base. Output: a merged model folder, GGUF files, a model card. May import: `report`,
`examples`, `sources`, `starling_server.backends` and `.models`; torch only for merging.
"""
