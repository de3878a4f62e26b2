"""The studio: a local web application over houses of photos, their jobs and results. Loaded by `rilievo serve` only."""
