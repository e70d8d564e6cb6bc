"""`python -m clipmodel_client PHOTO...`: `clipmodel embed` for those who installed nothing but the client."""

import typer

from clipmodel_client.cli import embed

if __name__ == "__main__":
    typer.run(embed)
