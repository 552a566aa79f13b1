"""What tells where a person is: offsets, calendars, places; and what was made of it, kept."""
