"""The side panel in Gmail: a Google Workspace add-on over HTTP. Its door, its cards, and what it shows."""
