"""The pages of sending later, put together: writing, the queue, drafts, templates, and panels elsewhere."""

from __future__ import annotations

from flask import Flask

from scheduler.post import Post
from scheduler.web import base as web_base
from scheduler.web import compose as web_compose
from scheduler.web import drafts as web_drafts
from scheduler.web import outbox as web_outbox
from scheduler.web import rights
from scheduler.web import templates as web_templates
from scheduler.web.base import Web
from tracker.jobs import Jobs
from tracker.web import contact, frame, timeline, words
from tracker.web.contact import ContactPanel
from tracker.web.frame import BoxPanel, ConversationPanel, NavItem

BLUEPRINTS = (web_compose.bp, web_drafts.bp, web_outbox.bp, web_templates.bp)


def init_app(app: Flask, post: Post, jobs: Jobs, *, soon: bool = False) -> None:
    """Add the pages to an application. `soon` offers to send "in one minute", for trying out."""
    app.extensions[web_base.EXTENSION] = Web(post, jobs, soon)
    web_base.init_assets(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    made = frame.of(app)
    made.compose_endpoint, made.reply_endpoint = "compose.show", "compose.show"
    frame.register_nav(app, NavItem("Outbox", "outbox.index", "send", order=20, key="g q"))
    frame.register_nav(app, NavItem("Templates", "mail_templates.index", "copy", order=62))
    frame.register_box_panel(app, BoxPanel("Queued mail", web_outbox.box_panel, order=20))
    frame.register_conversation_panel(app, ConversationPanel("Queued mail", web_outbox.conversation_panel))
    contact.register_contact_panel(app, ContactPanel("Queued mail", web_outbox.contact_panel, order=20))
    timeline.register_gate(app, rights.may_be_told)
    for kind, told in web_outbox.TOLD.items():
        words.register(kind, told)
