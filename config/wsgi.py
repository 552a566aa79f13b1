"""What the web server loads: the application, made from the environment."""

from __future__ import annotations

from config.app import create_app
from config.settings import load

app = create_app(load())
