"""`python -m promint` is `promint`."""

from promint.cli import main

if __name__ == "__main__":
    main()
