"""A made-up team of any size, written by SQL: mail once, and boxes for each size in a copy of that database."""

from __future__ import annotations

from datetime import datetime
from random import Random

from sqlalchemy import Connection, Engine, text

from config import teams
from tracker import facts, fields, mailboxes, people, pipelines, totals
from tracker.db import make_sessions, transaction
from tracker.mailboxes import Backfill

USERS = 10  # Alice has more than half of the mail, as the founder of a small team has
PARAGRAPHS = 4000
CONVERSATIONS_OF_A_BOX = 2
MAILS_OF_A_CONVERSATION = 4
OWNER = "alice@bench.example"

_MAIL = """
SELECT setseed(0.5);
INSERT INTO organizations (team_id, key, name)
SELECT :team, 'org' || n, 'Company ' || initcap(substr(md5(n::text), 1, 6)) FROM generate_series(1, :people / 5) n;
INSERT INTO contacts (team_id, key, name, organization_id, location)
SELECT :team, 'contact' || n, initcap(substr(md5('a' || n), 1, 5)) || ' ' || initcap(substr(md5('b' || n), 1, 8)),
       (SELECT min(id) FROM organizations) + (n - 1) / 5 % (:people / 5),
       (ARRAY['Berlin', 'Paris', 'Oslo', ''])[1 + n % 4]
FROM generate_series(1, :people) n;
INSERT INTO contact_addresses (team_id, contact_id, address, normalized)
SELECT :team, id, 'p' || id || '@firm' || organization_id || '.example',
       'p' || id || '@firm' || organization_id || '.example' FROM contacts;
INSERT INTO conversations (id, team_id, key, subject, first_message_at, last_message_at, message_count)
SELECT n, :team, 'conversation' || n, 'Topic ' || substr(md5(n::text), 1, 5) || ' ref' || n,
       :now - make_interval(mins => n), :now - make_interval(mins => n) + interval '3 hours', :each
FROM generate_series(1, :conversations) n;
INSERT INTO messages (id, team_id, key, identity, kin, rfc822_message_id, conversation_id, sent_at, sender_name,
                      sender_address, sender_normalized, subject, snippet, text, is_reply, outside)
SELECT (c.id - 1) * :each + m, :team, 'message' || (c.id - 1) * :each + m, sha256((c.id || '.' || m)::bytea),
       sha256(('k' || c.id || '.' || m)::bytea), c.id || '.' || m || '@mail.example', c.id,
       c.first_message_at + make_interval(hours => m - 1), w.name, w.address, w.address, c.subject,
       left(p.text, 120), p.text, m > 1, true
FROM conversations c
JOIN contacts k ON k.id = (SELECT min(id) FROM contacts) + (c.id / 3) % :people
JOIN contact_addresses a ON a.contact_id = k.id
CROSS JOIN generate_series(1, :each) m
JOIN bench_paragraphs p ON p.n = (c.id * 31 + m * 17) % :paragraphs
CROSS JOIN LATERAL (
  SELECT CASE WHEN (m + c.id) % 2 = 0 THEN k.name ELSE u.name END AS name,
         CASE WHEN (m + c.id) % 2 = 0 THEN a.address ELSE u.address END AS address
  FROM users u WHERE u.id = (SELECT min(id) FROM users) + CASE WHEN c.id % 10 < 6 THEN 0 ELSE c.id % :users END
) w;
INSERT INTO recipients (team_id, message_id, kind, name, address, normalized)
SELECT :team, g.id, 'to', '', w.address, w.address
FROM messages g
JOIN contact_addresses a
  ON a.contact_id = (SELECT min(id) FROM contacts) + (g.conversation_id / 3) % :people
JOIN users u ON u.id = (SELECT min(id) FROM users)
  + CASE WHEN g.conversation_id % 10 < 6 THEN 0 ELSE g.conversation_id % :users END
CROSS JOIN LATERAL (SELECT CASE WHEN g.sender_address = a.address THEN u.address ELSE a.address END AS address) w;
INSERT INTO threads (team_id, mailbox_id, gmail_thread_id, conversation_id)
SELECT :team, b.id, to_hex(c.id), c.id
FROM conversations c
JOIN users u ON u.id = (SELECT min(id) FROM users) + CASE WHEN c.id % 10 < 6 THEN 0 ELSE c.id % :users END
  OR (c.id % 7 = 0 AND u.id = (SELECT min(id) FROM users) + (c.id / 7) % :users)
JOIN mailboxes b ON b.user_id = u.id;
INSERT INTO copies (team_id, mailbox_id, message_id, gmail_id, gmail_thread_id, label_ids, history_id,
                    internal_date, size_estimate, headers)
SELECT :team, t.mailbox_id, g.id, to_hex(g.id), t.gmail_thread_id,
       CASE WHEN u.address = g.sender_address THEN ARRAY['SENT']
            WHEN g.id % 9 = 0 THEN ARRAY['INBOX', 'UNREAD'] ELSE ARRAY['INBOX'] END,
       g.id, g.sent_at, 4000, '[]'::jsonb
FROM threads t JOIN mailboxes b ON b.id = t.mailbox_id JOIN users u ON u.id = b.user_id
JOIN messages g ON g.conversation_id = t.conversation_id;
INSERT INTO events (team_id, at, kind, actor, conversation_id, message_id)
SELECT :team, sent_at, 'message.received', 'sync', conversation_id, id FROM messages;
DROP TABLE bench_paragraphs;
"""
_BOXES = """
SELECT setseed(0.25);
INSERT INTO boxes (id, team_id, key, pipeline_id, stage_id, name, owner_id, organization_id, values,
                   stage_entered_at, created_at, value_amount, value_currency)
SELECT n, :team, 'box' || n, :pipeline,
       (CAST(:stages AS bigint[]))[width_bucket(hashint4(n::int) & 1023, ARRAY[0, 300, 500, 650, 750, 850, 950])],
       'Deal ' || initcap(substr(md5(n::text), 1, 6)) || ' ' || n,
       CASE WHEN n % 11 = 0 THEN NULL ELSE (SELECT min(id) FROM users) + n % :users END, k.organization_id,
       CASE WHEN n % 2 = 0 THEN jsonb_build_object(CAST(:value AS text),
         jsonb_build_object('amount', (n % 90 * 500)::text,
                            'currency', CASE WHEN n % 5 = 0 THEN 'USD' ELSE 'EUR' END))
         ELSE '{}'::jsonb END
       || CASE WHEN n % 3 = 0 THEN jsonb_build_object(CAST(:tags AS text), jsonb_build_array('tag' || n % 20))
          ELSE '{}'::jsonb END,
       :now - make_interval(mins => n * 7 % 90000), :now - make_interval(mins => n * 7 % 90000 + 5000),
       CASE WHEN n % 2 = 0 THEN n % 90 * 500 END,
       CASE WHEN n % 2 = 0 THEN CASE WHEN n % 5 = 0 THEN 'USD' ELSE 'EUR' END END
FROM generate_series(1, :boxes) n
JOIN contacts k ON k.id = (SELECT min(id) FROM contacts) + n % (SELECT count(*) FROM contacts);
INSERT INTO box_contacts (team_id, box_id, contact_id)
SELECT DISTINCT :team, b.id, (SELECT min(id) FROM contacts) + (b.id + i) % (SELECT count(*) FROM contacts)
FROM boxes b CROSS JOIN generate_series(0, 1) i WHERE i = 0 OR b.id % 3 = 0;
INSERT INTO filings (team_id, key, conversation_id, box_id, pipeline_id, state, origin, reason)
SELECT :team, 'filing' || c.id, c.id, b.id, b.pipeline_id, 'filed', 'rule', 'because they are a contact of it'
FROM boxes b CROSS JOIN generate_series(0, :each - 1) i
JOIN conversations c ON c.id = 1 + (b.id - 1) + i * :boxes;
INSERT INTO events (team_id, at, kind, actor, user_id, box_id, data)
SELECT :team, b.created_at + make_interval(hours => i), CASE WHEN i = 0 THEN 'box.created' ELSE 'box.moved' END,
       'person', b.owner_id, b.id, jsonb_build_object('stage', 'Lead', 'from', 'Prospect', 'to', 'Lead', 'why', '')
FROM boxes b CROSS JOIN generate_series(0, 3) i ORDER BY b.id, i;
INSERT INTO tasks (team_id, key, box_id, title, due_on, assignee_id, done_at)
SELECT :team, 'task' || b.id || '.' || i, b.id, 'Call about ' || b.name,
       (:now)::date + (b.id % 40 - 10)::int, b.owner_id, CASE WHEN i = 1 THEN :now END
FROM boxes b CROSS JOIN generate_series(0, 1) i WHERE b.id % 3 = 0;
INSERT INTO activities (team_id, key, box_id, kind, text, at, user_id)
SELECT :team, 'note' || id, id, 'note', 'They want it by spring.', created_at, owner_id
FROM boxes WHERE id % 2 = 0;
"""
_FACTS = "SELECT id FROM boxes WHERE id > :after ORDER BY id LIMIT 5000"
_SEQUENCES = """
SELECT setval(pg_get_serial_sequence(t, 'id'), (xpath('/row/m/text()',
  query_to_xml(format('SELECT coalesce(max(id), 1) AS m FROM %I', t), false, true, '')))[1]::text::bigint)
FROM unnest(ARRAY['conversations', 'messages', 'boxes']) t
"""


def found_team(engine: Engine, now: datetime) -> None:
    """The team, its users and their mailboxes; Sales gets tags, and its stages a limit."""
    with transaction(make_sessions(engine)) as session:
        alice = teams.found(session, "Bench", OWNER, "Alice Archer")
        every = [alice]
        for number in range(1, USERS):
            every.append(
                people.add_user(session, alice.team_id, f"user{number}@bench.example", name=f"User {number}")
            )
        for user in every:
            mailbox = mailboxes.connect(session, user, user.address, b"sealed", now)
            mailbox.backfill, mailbox.synced_at = Backfill.DONE.value, now
        viewer = people.viewer_of(alice, "bench")
        sales = next(one for one in pipelines.of_team(session, alice.team_id) if one.name == "Sales")
        fields.add(session, viewer, sales.id, "Tags", fields.FieldType.TAGS)


def write_mail(engine: Engine, messages: int, now: datetime) -> None:
    """So many messages in conversations of four, of one contact each; none is filed."""
    conversations = max(messages // MAILS_OF_A_CONVERSATION, 1)
    values = {
        "team": 1, "now": now, "conversations": conversations, "each": MAILS_OF_A_CONVERSATION, "users": USERS,
        "people": max(conversations // 3, 10), "paragraphs": PARAGRAPHS,
    }  # fmt: skip
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("SET work_mem = '256MB'"))
        index = connection.scalar(text("SELECT pg_get_indexdef('ix_messages_search'::regclass)"))
        connection.execute(text("DROP INDEX ix_messages_search"))
        _write_paragraphs(connection)
        _run(connection, _MAIL, values)
        connection.execute(text("SET maintenance_work_mem = '512MB'"))
        connection.execute(text(str(index)))
        connection.execute(text(_SEQUENCES))
        connection.execute(text("VACUUM ANALYZE"))


def _write_paragraphs(connection: Connection) -> None:
    """What mails say: a few words are everywhere, most are rare."""
    random, words = _words()
    rows = [
        {"n": n, "text": " ".join(words[int(8000 * random.random() ** 3)] for _ in range(70))}
        for n in range(PARAGRAPHS)
    ]
    connection.execute(text("CREATE UNLOGGED TABLE bench_paragraphs (n bigint PRIMARY KEY, text text)"))
    connection.execute(text("INSERT INTO bench_paragraphs VALUES (:n, :text)"), rows)
    connection.execute(text("ANALYZE bench_paragraphs"))


def _words() -> tuple[Random, list[str]]:
    random = Random(1)
    return random, ["".join(random.choices("aeiounrstlm", k=random.randrange(3, 10))) for _ in range(8000)]


def common_word() -> str:
    """The word that is in most mails."""
    return _words()[1][0]


def write_boxes(engine: Engine, boxes: int, now: datetime) -> None:
    """So many boxes in Sales, with contacts, tasks, notes, a history, and two conversations each."""
    sessions = make_sessions(engine)
    with sessions() as session:
        sales = next(one for one in pipelines.of_team(session, 1) if one.name == "Sales")
        stages = [stage.id for stage in pipelines.of_pipeline(session, sales.id)]
        columns = {field.type: field.key for field in fields.of_pipeline(session, sales.id)}
    values = {
        "team": 1, "now": now, "boxes": boxes, "pipeline": sales.id, "stages": stages, "users": USERS,
        "value": columns["money"], "tags": columns["tags"], "each": CONVERSATIONS_OF_A_BOX,
    }  # fmt: skip
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _run(connection, _BOXES, values)
        connection.execute(text(_SEQUENCES))
        connection.execute(text("VACUUM ANALYZE"))
    _tidy(engine)


def _tidy(engine: Engine) -> None:
    """What the worker's ticks do: facts and totals."""
    sessions, after = make_sessions(engine), 0
    while True:
        with transaction(sessions) as session:
            ids = session.scalars(text(_FACTS), {"after": after}).all()
            facts.refresh(session, ids)
        if not ids:
            break
        after = ids[-1]
    with transaction(sessions) as session:
        totals.add_up(session)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _run(connection: Connection, script: str, values: dict[str, object]) -> None:
    for statement in filter(str.strip, script.split(";\n")):
        names = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(text(statement), names)
