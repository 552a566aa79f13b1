"""The gate's parts as SQL, each about the `Message` of the enclosing query and one owner of a copy of it.

Whoever asks about a copy brings its owner, and its mailbox if the copy is there; what was kept of somebody who
left has an owner and no mailbox. All subqueries use tables under names of their own, or say what they take from
outside: left to itself SQLAlchemy would take over any table that the page joins as well, and the gate would ask
about the page's row instead of its own. They are plain tables, so that whose eyes a session has (`tracker.sight`)
is not asked a second time, and one may ask what another person sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, case, false, func, literal, or_, select

from tracker import access
from tracker.boxes import Box
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Kept, Message, Recipient
from tracker.people import OwnAddress, Role, Viewer
from tracker.sharing import said
from tracker.sharing.levels import ALL, DEFAULT
from tracker.sharing.tables import Grant, Private, Rule

message = Message.__table__
copy = Copy.__table__.alias("shared_copy")
mailbox = Mailbox.__table__.alias("shared_mailbox")
kept = Kept.__table__.alias("shared_kept")
filing = Filing.__table__.alias("shared_filing")
_recipient = Recipient.__table__.alias("shared_recipient")
_own = OwnAddress.__table__.alias("shared_own")
_rule = Rule.__table__.alias("shared_rule")
_grant = Grant.__table__.alias("shared_grant")
_private = Private.__table__.alias("shared_private")
box = Box.__table__.alias("shared_box")
_owned = Mailbox.__table__.alias("shared_owned")
_holding = Copy.__table__.alias("shared_holding")
_any_kept = Kept.__table__.alias("shared_any_kept")
_OUTER = (message, copy, mailbox, kept, filing, box)


def found(query: Select[Any], *outer: Any) -> ColumnElement[bool]:
    """SQL: the query finds anything; it takes only these tables from outside."""
    return query.correlate(*(outer or _OUTER)).exists()


# -- of a message


def with_outsider() -> ColumnElement[bool]:
    """SQL: somebody outside the team wrote or got the message. Reply-To is no participant, nor is Bcc."""
    column: ColumnElement[bool] = message.c.outside  # as `tracker.ours` has it, kept by `tracker.sharing.upkeep`
    return column


def takes_part(address: Any, *outer: Any) -> ColumnElement[bool]:
    """SQL: the address wrote or got the message, by what all its readers see."""
    got = select(_recipient.c.id).where(
        _recipient.c.message_id == message.c.id,
        _recipient.c.kind != "reply-to",
        _recipient.c.normalized == address,
    )
    return or_(message.c.sender_normalized == address, got.correlate(message, *outer).exists())


def is_seen_taking_part(owner_id: Any) -> ColumnElement[bool]:
    """SQL: one of the owner's addresses stands in From, To or Cc.

    Somebody who holds a copy otherwise got it by Bcc (or by a list): to name them would tell.
    """
    query = select(_own.c.id).where(
        _own.c.team_id == message.c.team_id, _own.c.user_id == owner_id, takes_part(_own.c.normalized, _own)
    )
    return found(query)


# -- what an owner said


def _covers(address: Any) -> ColumnElement[bool]:
    """SQL: the entry of the private list is this address, or its domain, or one above it."""
    tail = func.right(address, func.length(_private.c.value) + 1)
    return or_(address == _private.c.value, tail == "@" + _private.c.value, tail == "." + _private.c.value)


def is_private(owner_id: Any, *, bcc: bool) -> ColumnElement[bool]:
    """SQL: somebody on the owner's private list takes part; with `bcc`, also unseen, by what the copy says.

    An address stands for itself, a domain for all that is below it. Asked once for each copy, and cheap for those
    who keep no such list.
    """
    got = select(_recipient.c.id).where(
        _recipient.c.message_id == message.c.id, _recipient.c.kind != "reply-to", _covers(_recipient.c.normalized)
    )
    named = [_covers(message.c.sender_normalized), got.correlate(message, _private).exists()]
    if bcc:
        one = func.jsonb_array_elements(copy.c.bcc).table_valued("value", name="shared_bcc")
        address = func.coalesce(one.c.value.op("->>")("normalized"), func.lower(one.c.value.op("->>")("address")))
        named.append(
            select(literal(1)).select_from(one).where(_covers(address)).correlate(copy, _private).exists()
        )
    return found(select(_private.c.id).where(_private.c.user_id == owner_id, or_(*named)))


def _granted(viewer: Viewer, owner_id: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return found(
        select(_grant.c.id).where(_grant.c.user_id == viewer.user_id, _grant.c.owner_id == owner_id, *conditions)
    )


def granted_conversation(viewer: Viewer, owner_id: Any) -> ColumnElement[bool]:
    """SQL: the owner lets the viewer read this conversation."""
    return _granted(viewer, owner_id, _grant.c.conversation_id == message.c.conversation_id)


def granted_address(viewer: Viewer, owner_id: Any) -> ColumnElement[bool]:
    """SQL: the owner lets the viewer read mail with somebody outside who takes part.

    Should they join the team one day, what is written among the team is no part of it.
    """
    there = takes_part(_grant.c.address, _grant)
    return and_(with_outsider(), _granted(viewer, owner_id, _grant.c.address.is_not(None), there))


def granted_pipeline(viewer: Viewer, owner_id: Any) -> ColumnElement[bool]:
    """SQL: the owner lets the viewer read what is in the pipeline of the `Box` of the enclosing query."""
    return _granted(viewer, owner_id, _grant.c.pipeline_id == box.c.pipeline_id)


def _ruled(*conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    packed = (_rule.c.outside * 4 + _rule.c.inside).cast(Integer)
    return select(packed).where(*conditions).correlate(*_OUTER).scalar_subquery()


def conversation_rule(owner_id: Any) -> ColumnElement[Any]:
    """SQL: what the owner said of this conversation, packed; NULL if nothing."""
    return _ruled(_rule.c.conversation_id == message.c.conversation_id, _rule.c.user_id == owner_id)


def pipeline_rule(owner_id: Any) -> ColumnElement[Any]:
    """SQL: what the owner said of the `Box`'s pipeline, packed; NULL if nothing."""
    return _ruled(_rule.c.pipeline_id == box.c.pipeline_id, _rule.c.user_id == owner_id)


def mailbox_rule() -> ColumnElement[Any]:
    """SQL: what the owner said of the `mailbox`, packed; NULL if nothing."""
    return _ruled(_rule.c.mailbox_id == mailbox.c.id)


def unpacked(packed: ColumnElement[Any]) -> ColumnElement[int]:
    """SQL: the level for this message out of a packed pair. (Written so that the pair stands in it once.)"""
    shift = case((with_outsider(), 2), else_=0)
    return packed.op(">>")(shift).op("&")(3)


# -- what reaches the viewer


def filed(viewer: Viewer | None, *columns: Any) -> Select[Any]:
    """SQL: where the conversation is filed, in boxes that the viewer may see (`None`: in any that is there).

    Of suggestions and of deleted boxes nothing follows.
    """
    query = (
        select(*columns)
        .select_from(filing)
        .join(box, box.c.id == filing.c.box_id)
        .where(
            filing.c.conversation_id == message.c.conversation_id,
            filing.c.state == FILED,
            box.c.deleted_at.is_(None),
        )
    )
    if viewer is None or (viewer.role != Role.GUEST and said.NARROWED not in said.of(viewer)):
        return query
    return query.where(access.may_see(viewer, box.c))


def word_in_box(viewer: Viewer | None) -> ColumnElement[int]:
    """SQL: what the owner of the `mailbox` shares with the viewer (`None`: with everybody) in the `Box`.

    The narrowest of their words counts: of the conversation, then a grant for the pipeline, then of the
    pipeline, then of the mailbox, then the default.
    """
    owner, there = mailbox.c.user_id, said.EVERYTHING if viewer is None else said.of(viewer)
    words: list[Any] = []
    if said.OF_CONVERSATION in there:
        words.append(conversation_rule(owner))
    if viewer is not None and said.GRANTED_PIPELINE in there:
        words.append(case((granted_pipeline(viewer, owner), ALL.packed)))
    if said.OF_PIPELINE in there:
        words.append(pipeline_rule(owner))
    if said.OF_MAILBOX in there:
        words.append(mailbox_rule())
    return unpacked(func.coalesce(*words, DEFAULT.packed))


def word_of_grant() -> ColumnElement[int]:
    """SQL: what a wide grant gives; what the owner said of this one conversation narrows it."""
    return unpacked(func.coalesce(conversation_rule(mailbox.c.user_id), ALL.packed))


# -- what the rules of filing and moving may act on


def _live_copies() -> Select[Any]:
    return (
        select(copy.c.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .where(copy.c.message_id == message.c.id, ~copy.c.hidden, mailbox.c.left_at.is_(None))
        .where(~is_private(mailbox.c.user_id, bcc=True))
    )


def not_private() -> ColumnElement[bool]:
    """SQL: somebody holds the `Message` (or left it to the team) whose private list keeps nobody of it."""
    left = select(kept.c.id).where(kept.c.message_id == message.c.id, ~is_private(kept.c.owner_id, bcc=False))
    return or_(found(_live_copies(), message), found(left, message))


def whole_in(pipeline_id: Any, *outer: Any) -> ColumnElement[bool]:
    """SQL: somebody shares the `Message` whole with all who see a box of the pipeline.

    Only on such mail may something happen that everybody sees there: a box made, a contact, another stage.
    """
    of_pipeline = _rule.alias("shared_there")
    there = (
        select((of_pipeline.c.outside * 4 + of_pipeline.c.inside).cast(Integer))
        .where(of_pipeline.c.pipeline_id == pipeline_id, of_pipeline.c.user_id == mailbox.c.user_id)
        .correlate(*_OUTER, *outer)
        .scalar_subquery()
    )
    word = unpacked(
        func.coalesce(conversation_rule(mailbox.c.user_id), there, mailbox_rule(), literal(DEFAULT.packed))
    )
    left = select(kept.c.id).where(
        kept.c.message_id == message.c.id, kept.c.user_id.is_(None), kept.c.pipeline_id == pipeline_id,
        kept.c.level == 3, ~is_private(kept.c.owner_id, bcc=False),
    )  # fmt: skip
    return or_(found(_live_copies().where(word == 3), message, *outer), found(left, message, *outer))


# -- what most mail needs


def _plain_owners(viewer: Viewer) -> ColumnElement[Any]:
    """SQL: the mailboxes of teammates who never said anything, as an array; it is read once in a statement."""
    there, mute = said.of(viewer), _teammates(viewer)
    if said.any_of(said.RULES, there):
        mute = mute.where(~found(_rules_of_owner(), _owned))
    if said.PRIVATE in there:
        mute = mute.where(~found(_private_of_owner(), _owned))
    return func.array(mute.scalar_subquery())


def _outspoken_owners(viewer: Viewer) -> ColumnElement[Any]:
    """SQL: the mailboxes of teammates who said anything that concerns the viewer, as an array."""
    there, words = said.of(viewer), []
    if said.any_of(said.RULES, there):
        words.append(found(_rules_of_owner(), _owned))
    if said.PRIVATE in there:
        words.append(found(_private_of_owner(), _owned))
    if said.any_of(said.GRANTS, there):
        words.append(found(_grants_of_owner(viewer), _owned))
    return func.array(_teammates(viewer).where(or_(false(), *words)).scalar_subquery())


def _rules_of_owner() -> Select[Any]:
    return select(_rule.c.id).where(_rule.c.user_id == _owned.c.user_id)


def _private_of_owner() -> Select[Any]:
    return select(_private.c.id).where(_private.c.user_id == _owned.c.user_id)


def _grants_of_owner(viewer: Viewer) -> Select[Any]:
    return select(_grant.c.id).where(_grant.c.user_id == viewer.user_id, _grant.c.owner_id == _owned.c.user_id)


def _teammates(viewer: Viewer) -> Select[Any]:
    return select(_owned.c.id).where(
        _owned.c.team_id == viewer.team_id, _owned.c.left_at.is_(None), _owned.c.user_id != viewer.user_id
    )


def own_copy(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: one of the viewer's own mailboxes holds the message, outside trash, spam and drafts."""
    mine = select(_owned.c.id).where(_owned.c.user_id == viewer.user_id, _owned.c.left_at.is_(None))
    return _held_by(func.array(mine.scalar_subquery()))


def by_default(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: it is with an outsider, in a box that the viewer may see, and somebody holds it who never said a word.

    Then the default decides, and it is seen whole: this is most of what is shared, and cheap to find out.
    """
    return and_(with_outsider(), _held_by(_plain_owners(viewer)), _in_box(viewer))


def _in_box(viewer: Viewer) -> ColumnElement[bool]:
    return filed(viewer, filing.c.id).limit(1).correlate(message).scalar_subquery().is_not(None)


def copies_by_default(viewer: Viewer) -> Select[Any]:
    """The copies of those who never said a word, where the default lets the viewer read the message."""
    return select(copy.c.id).where(
        copy.c.message_id == message.c.id, ~copy.c.hidden, copy.c.mailbox_id == func.any(_plain_owners(viewer)),
        with_outsider(), _in_box(viewer),
    )  # fmt: skip


def anybody_spoke(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: there are mailboxes of which more than the default counts; asked once in a statement."""
    return func.cardinality(_outspoken_owners(viewer)) > 0


def anything_kept(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the team keeps what somebody who left had shared; asked once in a statement."""
    return (
        select(_any_kept.c.id).where(_any_kept.c.team_id == viewer.team_id).limit(1).scalar_subquery().is_not(None)
    )


def _held_by(mailboxes: ColumnElement[Any]) -> ColumnElement[bool]:
    # A scalar, so that it is asked message by message: else all that the mailboxes hold would be put into a hash.
    one = select(_holding.c.id).where(
        _holding.c.message_id == message.c.id, ~_holding.c.hidden, _holding.c.mailbox_id == func.any(mailboxes)
    )
    return one.limit(1).correlate(message).scalar_subquery().is_not(None)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows from which a message may reach a viewer, and how far each lets them see."""

    rows: Select[Any]
    level: ColumnElement[int]


def teammates_copies(viewer: Viewer) -> Source:
    """Copies that teammates hold of whose sharing more counts than the default (`by_default` is about the rest).

    No draft, spam or trash, and not in a mailbox whose owner left.
    """
    owner = mailbox.c.user_id
    rows = (
        select(copy.c.id)
        .join(mailbox, mailbox.c.id == copy.c.mailbox_id)
        .where(
            copy.c.message_id == message.c.id,
            ~copy.c.hidden,
            mailbox.c.left_at.is_(None),
            owner != viewer.user_id,
            copy.c.mailbox_id == func.any(_outspoken_owners(viewer)),
        )
    )
    # The best of all boxes. (Not by `max`: where no word is of the box, it would be one of the outer query.)
    word = word_in_box(viewer).label("word")
    boxes = filed(viewer, word).order_by(word.desc()).limit(1)
    in_boxes = boxes.correlate(message, copy, mailbox).scalar_subquery()
    there, whens = said.of(viewer), []
    reached: list[Any] = [in_boxes]
    if said.GRANTED_ADDRESS in there:
        reached.append(case((granted_address(viewer, owner), word_of_grant()), else_=0))
    if said.PRIVATE in there:
        whens.append((is_private(owner, bcc=True), 0))
    if said.GRANTED_CONVERSATION in there:
        whens.append((granted_conversation(viewer, owner), 3))
    best = func.greatest(*reached, 0)
    return Source(rows, case(*whens, else_=best) if whens else best)


def kept_shares(viewer: Viewer) -> Source:
    """What teammates had shared when they left."""
    visible = found(filed(viewer, filing.c.id).where(box.c.pipeline_id == kept.c.pipeline_id), message, kept)
    for_me = or_(kept.c.user_id.is_(None), kept.c.user_id == viewer.user_id)
    rows = select(kept.c.id).where(kept.c.message_id == message.c.id)
    private = [(is_private(kept.c.owner_id, bcc=False), 0)] if said.PRIVATE in said.of(viewer) else []
    level = case(
        *private,
        (and_(for_me, or_(kept.c.pipeline_id.is_(None), visible)), kept.c.level),
        else_=0,
    )
    return Source(rows, level)
