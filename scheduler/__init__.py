"""Time: when a mail goes out, and its going; the clock that wakes everybody else."""
