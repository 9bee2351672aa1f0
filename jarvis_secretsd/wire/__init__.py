"""Bytes to messages and back: frames and HTTP/1.1, told apart by their first byte. Pure."""
