"""The public copy of an adapter, and its upload to the Hugging Face Hub, always after confirmation.

Input: an adapter's folder. Output: a public copy of its record; a repository on the Hub. May import: `config`,
`starling_server.models`.
"""
