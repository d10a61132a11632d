"""The neural engine: torch lives here."""
