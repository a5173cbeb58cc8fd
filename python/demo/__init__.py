"""The demo: two compensation services judge every flight out of New York in 2013.

``flights`` turns the data set into facts, ``policies`` reads the two tenants and
their rules from ``policies.toml``, ``database`` loads and evaluates, ``report``
prints. Everything is decided inside PostgreSQL; Python moves no row back and forth.
"""
