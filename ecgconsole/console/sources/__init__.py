"""What the screens show, read from files by pure functions: no widget, nothing kept open, nothing written."""
