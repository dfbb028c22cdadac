"""Language server: suggestions as ghost text in any editor that supports inline completion."""
