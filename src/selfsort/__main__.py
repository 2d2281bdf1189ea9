"""``python -m selfsort``: the command line."""

from selfsort.cli import main

if __name__ == "__main__":
    main()
