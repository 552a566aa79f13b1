"""Lists that come with the package."""
