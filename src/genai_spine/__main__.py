"""`python -m genai_spine` is `spine`."""

from genai_spine.cli.main import main

if __name__ == "__main__":  # the gateway's worker processes import this module, too
    main()
