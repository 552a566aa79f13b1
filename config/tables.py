"""Every table of every slice: importing this makes the metadata whole."""

from __future__ import annotations

from gmail_sync import budget, wanted
from scheduler import calendar, emails, reminders, sequence_plans, sequences, snippets
from scheduler.calendars import team_days
from scheduler.zones import store as zone_store
from tracker import (
    activities,
    boxes,
    contacts,
    conversations,
    events,
    facts,
    fields,
    filing,
    imports,
    links,
    mailboxes,
    messages,
    organizations,
    people,
    pipelines,
    readers,
    snoozes,
    tasks,
    totals,
    views,
)
from tracker.db import Base
from webhooks import hits, own_side, tracking_settings, tracks
from webhooks.bells import deliveries, notices, subscriptions, wishes

SLICES = (
    people, mailboxes, messages, conversations, organizations, contacts, pipelines, fields, boxes, filing, events,
    readers,
    facts, totals, tasks, activities, links, views, snoozes, imports,
    budget, wanted, tracks, tracking_settings, hits, own_side, emails, zone_store,
    snippets, calendar, team_days, sequence_plans, sequences, reminders,
    notices, wishes, subscriptions, deliveries,
)  # fmt: skip
metadata = Base.metadata
