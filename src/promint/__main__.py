"""`promint`, and `python -m promint`."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run a command. Whoever interrupts it while it is loaded gets no traceback either."""
    try:
        from promint.cli import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
