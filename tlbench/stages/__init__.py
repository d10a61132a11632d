"""Content-addressed artefacts and the steps that make them."""
