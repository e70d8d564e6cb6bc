"""`python -m clipmodel_operator` is the `clipmodel` command."""

from clipmodel_operator.cli import main

main()
