"""Repaired, enlarged and cut-out copies of photos: settings, steps on one photo and on the set, and the proof."""
