"""`python -m clipmodel_client PHOTO...`: `clipmodel embed` for those who installed nothing but the client."""

import typer

from clipmodel_client.cli import embed

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
app.command()(embed)

if __name__ == "__main__":
    app()
