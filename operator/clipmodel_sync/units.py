"""Numbers of bytes as a person reads them."""

_STEP = 1000.0


def format_bytes(count: float) -> str:
    """Return bytes in decimal units, the ones of disks and downloads: 351461235 is 351.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} TB"
