"""From a request to an answer, shared by the language server and every HTTP endpoint. No torch.

In: a `CompleteRequest` or a raw prompt. Out: a `CompleteResponse`, or the raw continuation.
May import: `context`, `engine`, `postprocess`, `models`, `prompt` and the root's modules.
"""
