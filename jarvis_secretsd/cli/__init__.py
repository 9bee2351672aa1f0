"""The operator's command (`jarvis-secretsd`) and the user's (`jarvis-secrets`)."""
