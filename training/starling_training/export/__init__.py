"""`train-copilot export`: an adapter as a model of its own, and as files for llama.cpp."""
