"""iCalendar in and out: days off, invitations, and the reading of both, which is hostile until parsed."""
