"""``python -m pgrules`` is the command ``pgrules``."""

from .cli import main

main()
