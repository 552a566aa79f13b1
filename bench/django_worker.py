"""django-post_office, as `bench.send` runs it: its tables, its queue, its own command, a backend that counts.

python -m bench.django_worker fill 2000      # BENCH_POSTGRES: libpq's address, BENCH_FOLDER: where files go
python -m bench.django_worker send
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 0.004  # that handing over one mail takes


class Counting:
    """An e-mail backend that appends a line for each mail that it was handed, as a relay would deliver it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.path = Path(os.environ["BENCH_FOLDER"]) / "delivered"

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def send_messages(self, messages: Any) -> int:
        """Deliver."""
        for message in messages:
            time.sleep(SECONDS)
            with self.path.open("a") as file:
                file.write(f"{message.subject}\n")
        return len(messages)


def main() -> None:
    """Fill the queue, or send it."""
    import django
    from django.conf import settings
    from psycopg.conninfo import conninfo_to_dict

    known = conninfo_to_dict(os.environ["BENCH_POSTGRES"])
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "post_office"], USE_TZ=True, SECRET_KEY="bench",
        DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": known["dbname"], "HOST": known["host"],
            "USER": known.get("user", ""), "PORT": known.get("port", ""),
        }},
        POST_OFFICE={
            "BACKENDS": {"default": "bench.django_worker.Counting"},
            "LOCK_FILE_NAME": str(Path(os.environ["BENCH_FOLDER"]) / "post_office"),
        },
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )  # fmt: skip
    django.setup()
    from django.core.management import call_command

    if sys.argv[1] == "fill":
        from post_office import mail

        call_command("migrate", verbosity=0)
        number = int(sys.argv[2])
        mail.send_many([
            {"sender": "rep@team.example", "recipients": "dora@outside.example", "subject": f"mail {one}",
             "message": "Good morning.", "priority": "medium"}
            for one in range(number)
        ])  # fmt: skip
    else:
        call_command("send_queued_mail", processes=1, log_level=0)
        from post_office.mail import get_queued

        sys.exit(0 if not get_queued().exists() else 3)


if __name__ == "__main__":
    main()
