"""What rooms tell each other: API types, names, reasons, errors and frozen facts. No input or output here."""
