"""What the daemon does per second, measured on the machine at hand."""
