"""What other files of the repository say about a place in a file.

In: a folder of source files, and a place in one of them. Out: pieces of the other files, and the block of the prompt.
May import: `postprocess`, `files`, `models`, `prompt`.
"""
