"""Files to values and back. Foreign axes are converted here and nowhere else."""
