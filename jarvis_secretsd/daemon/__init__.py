"""Everything that touches the kernel; `app` puts it together."""
