"""Prefill, decode, verify drafts, stop, cancel: scheduling policy over a runner. No torch.

In: jobs (prompt ids, a sampler, an interrupt). Out: token ids, why they ended and what they took.
May import: `models`, `schema`, `owners`, `errors`; runners implement its `protocols`.
"""
