"""Checking photos before (and after) they are built: single photos, the set, what it covers, what to take next."""
