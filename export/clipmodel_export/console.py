"""What a person sees of an export: bars on a terminal, plain lines in a log or a pipe.

Progress, notes and errors go to standard error; what a script may want (the table, path, digest, snippet) to
standard output.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from clipmodel_contract.model_metadata import WEIGHTS_KEY
from clipmodel_export.errors import ExportError
from clipmodel_export.model import SERVED, CheckResult, Exported, render_clipmodel

# Without a terminal rich assumes 80 columns and cuts table cells; nobody reads a log at that width.
LOG_WIDTH = 160
MEANINGLESS = ": DEMO ONLY, EMBEDDINGS WITHOUT MEANING"


class RichReporter:
    """A `pipeline.Reporter` over two consoles."""

    def __init__(self, *, out: Console | None = None, err: Console | None = None) -> None:
        self.out = out or _make_console(stderr=False)
        self.err = err or _make_console(stderr=True)

    @contextmanager
    def step(self, title: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
        if not self.err.is_terminal:
            self.err.print(f"{title} ...", end=" ", markup=False)
            started = time.monotonic()
            try:
                yield lambda _: None
            except BaseException:
                self.err.print("failed")
                raise
            self.err.print(f"{time.monotonic() - started:.1f} s", highlight=False)
            return
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<40}", markup=False),
        )
        bar = (BarColumn(bar_width=30), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, *bar, console=self.err) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.advance(task, done)
            done = total or 1
            progress.update(task, total=done, completed=done)

    @contextmanager
    def step_with_own_bar(self, title: str) -> Iterator[None]:
        # Two live displays on one terminal overwrite each other.
        self.err.print(f"{title} ...", markup=False)
        yield

    def note(self, text: str) -> None:
        self.err.print(text, markup=False, highlight=False)

    def show_checks(self, results: Sequence[CheckResult]) -> None:
        table = Table(title="Verification", title_justify="left")
        for heading in ("check", "", "found", "wanted"):
            table.add_column(heading, overflow="fold")
        for result in results:
            verdict = "[green]ok" if result.passed else "[bold red]FAILED"
            table.add_row(escape(result.name), verdict, escape(result.found), escape(result.wanted))
        self.out.print(table)

    def show_random_warning(self, seed: int) -> None:
        self.err.print(
            Panel(
                f"RANDOM WEIGHTS (seed {seed}): this model has the right shape and meaningless embeddings.\n"
                "It is for demos and tests. Never search with it.",
                border_style="bold yellow",
                expand=False,
            )
        )

    def show_result(self, exported: Exported, *, next_step: bool = True) -> None:
        """Say what was made, and what comes next."""
        tensors = exported.tensors
        size = tensors.image_size
        state = " (unchanged: the same bytes were there)" if exported.unchanged else ""
        lines = [
            f"path        {exported.path}{state}",
            f"bytes       {exported.size_bytes}",
            f"sha256      {exported.sha256}",
            f"weights     {exported.metadata[WEIGHTS_KEY]}{MEANINGLESS if exported.is_random else ''}",
            f"activation  {exported.activation}",
            f"parameters  {exported.parameters}",
            f"input       {tensors.input_name} FP32 [batch,3,{size},{size}], RGB in [0,1]",
            f"output      {tensors.output_name} FP32 [batch,{tensors.dimension}], not normalised",
            "",
        ]
        if not exported.checks:
            lines += ["Not verified: --test compares the file with PyTorch.", ""]
        if exported.is_served and next_step:
            lines += [
                "Next: put the file where the cluster can read it, and apply",
                "",
                render_clipmodel(exported),
            ]
        elif not exported.is_served:
            lines.append(
                f"The operator of this release serves {SERVED.image_size} x {SERVED.image_size} pictures and {SERVED.dimension} numbers, so not this model."
            )
        self.out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    def show_error(self, error: ExportError) -> None:
        self.err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        self.err.print(error.advice, markup=False, highlight=False, soft_wrap=True)


def _make_console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=LOG_WIDTH)
