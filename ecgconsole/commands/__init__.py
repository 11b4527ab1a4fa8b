"""The commands, grouped. Each parses, calls and prints; imports that cost time are inside the functions."""
