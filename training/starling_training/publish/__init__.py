"""What of an adapter others may see, and its upload to the Hugging Face Hub, never without a question.

In: an adapter's folder. Out: a public copy of its record; a repository on the Hub.
May import: `config`, `starling_server.models`.
"""
