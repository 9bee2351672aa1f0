"""What of a project is a secret: in its `.env` and compose files, and in what git remembers.

Values are read to be judged and compared, and never shown.
"""
