"""Programs for `[[hooks]]` of the configuration: docs/rotation.md says what a hook is asked."""
