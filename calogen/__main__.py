"""`python -m calogen` is the command `calogen`."""

from calogen.cli.main import main

if __name__ == "__main__":
    main()
