"""Opening an attachment: `/messages/<key>/files/<number>`."""

from __future__ import annotations

import io
import threading

from flask import Blueprint, Flask, abort, current_app, render_template, send_file

from gmail_sync import attachments
from gmail_sync.attachments import FileError, FileGone, FileTooLarge
from gmail_sync.session import Services
from tracker import reading_log
from tracker.web import frame, security
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("files", __name__, template_folder="templates")
EXTENSION = "gmail_sync_files"
AT_ONCE = 4  # files that one process holds in memory
WAIT = 20.0  # seconds for one's turn

_places = threading.BoundedSemaphore(AT_ONCE)


@bp.get("/messages/<key>/files/<int:number>")
def open_file(key: str, number: int) -> Page:
    """The file as a download, for whoever may read its message at this moment."""
    found = attachments.wanted(db(), viewer(), key, number) or abort(404)
    frame.release()  # nothing of the database is held while Gmail is asked
    if not _places.acquire(timeout=WAIT):
        return _unopened(FileError("Many files are being opened just now. Try again in a moment."), key)
    try:
        data = attachments.fetch(_services(), found)
    except FileError as error:
        return _unopened(error, key)
    finally:
        _places.release()
    # What was shared may have been taken back while Gmail was asked.
    if attachments.wanted(db(), viewer(), key, number) is None:
        abort(404)
    reading_log.opened(db(), viewer(), [found.message_id], now(), door="file")
    security.as_file()
    answer = send_file(
        io.BytesIO(data), found.mime_type, as_attachment=True, download_name=found.name, etag=False, max_age=0
    )
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


def _unopened(error: FileError, key: str) -> Page:
    status, title = 503, "This file can’t be opened just now"
    if isinstance(error, FileGone):
        status, title = 410, "This file is gone"
    elif isinstance(error, FileTooLarge):
        status, title = 413, "This file is too large"
    return render_template("gmail_sync/file.html", title=title, words=str(error), key=key), status


def _services() -> Services:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Services)
    return found


def init_app(app: Flask, services: Services) -> None:
    """Add it to an application that has the frame, and tell the pages where files are opened."""
    app.extensions[EXTENSION] = services
    app.register_blueprint(bp)
    frame.of(app).file_endpoint = "files.open_file"
