"""The language server: suggestions as ghost text in any editor with inline completion."""
