"""Facts about providers and models, as data: where a request is sent, who pays, which dialects are spoken.

rows.py reads providers.toml. Must not know: settings, HTTP, what a dialect's bytes look like.
"""
