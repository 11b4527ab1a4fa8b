"""Every command: parse, call, map errors to exit codes. No logic."""


def main() -> None:
    raise SystemExit(2)
