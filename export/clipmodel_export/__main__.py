"""`python -m clipmodel_export`."""

from clipmodel_export.cli import main

if __name__ == "__main__":
    main()
