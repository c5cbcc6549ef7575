-- One row per persona ever found, with its end: rejected, duplicate, or kept.
create or replace view persona_fates as
select
    raw.lang,
    raw.persona_id,
    raw.persona,
    raw.method,
    raw.hop,
    raw.doc_id,
    raw.parent_persona_id,
    case
        when rejected.persona_id is not null then 'rejected'
        when loser.loser_id is not null then 'duplicate'
        when deduped.persona_id is not null then 'kept'
        when filtered.persona_id is not null then 'filtered, not yet deduplicated'
        else 'raw, not yet filtered'
    end as fate,
    coalesce(rejected.stage, loser.method) as stage,
    coalesce(rejected.reason, 'duplicate of ' || loser.winner_id) as reason,
    coalesce(rejected.score, loser.similarity) as score,
    coalesce(rejected.threshold, loser.threshold) as threshold,
    loser.winner_id
from raw_personas as raw
left join rejected_personas as rejected using (lang, persona_id)
left join filtered_personas as filtered using (lang, persona_id)
left join duplicate_personas as loser on loser.lang = raw.lang and loser.loser_id = raw.persona_id
left join deduped_personas as deduped on deduped.lang = raw.lang and deduped.persona_id = raw.persona_id;
