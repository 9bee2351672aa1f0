"""Helpers that docker and git start to keep their users' logins with the daemon."""
