"""Two tenants who do anything at random, against a model of what each must see.

A history is a list of steps: data, drawn without looking at the database, so that it
can be repeated, shortened, and repeated with the steps of one tenant alone.
:mod:`.judgement` knows what expressions mean, :mod:`.model` what one tenant has,
:mod:`.steps` what a step is, :mod:`.statements` and :mod:`.calls` what can be done,
:mod:`.world` does it, and :mod:`.histories` holds histories against the model and
against each other.

``python -m tests.security.two_tenants 1000000 [SEED]`` does a million operations.
"""
