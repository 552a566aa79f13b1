"""The demo: a made-up team, four months of its mail, and people who answer while one looks on."""
