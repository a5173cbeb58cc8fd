"""What this project takes from others: pinned, as pinned, licensed, without advisories.

``check`` needs no network and is part of ``make lint``; ``audit`` is ``make audit``.
"""
