"""The public copy of an adapter, and its upload to the Hugging Face Hub, always after confirmation.

In: an adapter's folder. Out: a public copy of its record; a repository on the Hub.
May import: `config`, `starling_server.models`.
"""
