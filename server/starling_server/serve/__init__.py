"""`serve-copilot`: flags and settings to a running server, kept alive to its end.

In: the command line, the environment, a settings file. Out: a listening process.
May import: everything in `starling_server`; torch comes in late, with the backend that needs it.
"""
