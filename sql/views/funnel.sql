-- Counts of every stage per language; each stage's input equals its output plus what left there.
create or replace view funnel as
with counts as (
    select lang, 'documents_read' as stage, count(*) as rows from seed_documents group by lang
    union all
    select lang, 'documents_read', count(*) from rejected_documents group by lang
    union all
    select lang, 'documents', count(*) from seed_documents group by lang
    union all
    select lang, 'documents_rejected', count(*) from rejected_documents group by lang
    union all
    select lang, 'replies', count(distinct answer_key) from raw_personas group by lang
    union all
    select lang, 'replies', count(*) from rejected_replies group by lang
    union all
    select lang, 'replies_rejected', count(*) from rejected_replies group by lang
    union all
    select lang, 'raw', count(*) from raw_personas group by lang
    union all
    select lang, 'filtered', count(*) from filtered_personas group by lang
    union all
    select lang, 'rejected', count(*) from rejected_personas group by lang
    union all
    select lang, 'deduplicated', count(*) from deduped_personas group by lang
    union all
    select lang, 'duplicates', count(*) from duplicate_personas group by lang
    union all
    select lang, 'conversations', count(*) from conversations group by lang
    union all
    select lang, 'conversations_rejected', count(*) from rejected_conversations group by lang
)
select
    lang,
    coalesce(sum(rows) filter (stage = 'documents_read'), 0)::bigint as documents_read,
    coalesce(sum(rows) filter (stage = 'documents_rejected'), 0)::bigint as documents_rejected,
    coalesce(sum(rows) filter (stage = 'documents'), 0)::bigint as documents,
    coalesce(sum(rows) filter (stage = 'replies'), 0)::bigint as replies,
    coalesce(sum(rows) filter (stage = 'replies_rejected'), 0)::bigint as replies_rejected,
    coalesce(sum(rows) filter (stage = 'raw'), 0)::bigint as raw,
    coalesce(sum(rows) filter (stage = 'rejected'), 0)::bigint as rejected,
    coalesce(sum(rows) filter (stage = 'filtered'), 0)::bigint as filtered,
    coalesce(sum(rows) filter (stage = 'duplicates'), 0)::bigint as duplicates,
    coalesce(sum(rows) filter (stage = 'deduplicated'), 0)::bigint as deduplicated,
    coalesce(sum(rows) filter (stage = 'conversations_rejected'), 0)::bigint as conversations_rejected,
    coalesce(sum(rows) filter (stage = 'conversations'), 0)::bigint as conversations
from counts
group by lang
order by lang;
