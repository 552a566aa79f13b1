"""Measurements. Each command prints a table, as ratios against a baseline in the same run."""
