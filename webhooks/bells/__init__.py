"""Who is told of what, and how: notifications out of the event log, on the pages and on the desktop.

`telling` reads the log and writes a row for each person and thing worth knowing; `deliveries` are the pushes that
wait; `Bells` in the worker does both. What a notification says is made when it is shown (`words`), for its reader.
"""
