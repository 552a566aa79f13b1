"""Every table of every slice: importing this makes the metadata whole."""

from __future__ import annotations

from gmail_sync import budget, wanted
from gmail_sync.labels import tables as labels
from scheduler import calendar, emails, reminders, sequence_plans, sequences, snippets
from scheduler.calendars import team_days
from scheduler.zones import store as zone_store
from tracker import (
    access,
    access_requests,
    activities,
    api_keys,
    boxes,
    contacts,
    conversations,
    events,
    facts,
    fields,
    filing,
    imports,
    invitations,
    links,
    mailboxes,
    messages,
    organizations,
    people,
    pipelines,
    readers,
    reading_log,
    sessions,
    snoozes,
    tasks,
    totals,
    views,
)
from tracker.db import Base
from tracker.sharing import tables as sharing
from webhooks import hits, own_side, tracking_settings, tracks
from webhooks.bells import deliveries, notices, subscriptions, wishes

SLICES = (
    people, invitations, sessions, api_keys,
    mailboxes, messages, conversations, organizations, contacts, pipelines, fields, boxes, access,
    filing, events, readers,
    sharing, facts, totals, tasks, activities, links, views, snoozes, imports,
    budget, wanted, labels, tracks, tracking_settings, hits, own_side, emails, zone_store,
    snippets, calendar, team_days, sequence_plans, sequences, reminders,
    notices, wishes, subscriptions, deliveries,
    access_requests, reading_log,
)  # fmt: skip
metadata = Base.metadata
