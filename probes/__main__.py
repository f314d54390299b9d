"""``python -m probes`` is the command ``probe``."""

from probes.cli.main import main

if __name__ == "__main__":
    main()
