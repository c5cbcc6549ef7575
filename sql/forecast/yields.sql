-- What became of requests, personas and conversations of one language, as counts.
with replies as (
    select answer_key, hop from raw_personas where lang = $lang
    union
    select answer_key, case stage when 'text_to_persona' then 0 else 1 end from rejected_replies where lang = $lang
)
select
    (select count(distinct answer_key) from replies where hop = 0) as text_requests,
    (select count(*) from raw_personas where lang = $lang and hop = 0) as text_personas,
    (select count(distinct answer_key) from replies where hop > 0) as related_requests,
    (select count(*) from raw_personas where lang = $lang and hop > 0) as related_personas,
    (
        select count(distinct parent_persona_id)
        from (
            select parent_persona_id from raw_personas where lang = $lang and hop = 1
            union
            select parent_persona_id from rejected_replies where lang = $lang and stage = 'persona_to_persona'
        )
        where parent_persona_id in (select persona_id from raw_personas where lang = $lang and hop = 0)
    ) as text_parents,
    (select count(*) from filtered_personas where lang = $lang) as filtered,
    (select count(*) from rejected_personas where lang = $lang) as rejected,
    (select count(*) from deduped_personas where lang = $lang) as kept,
    (select count(*) from duplicate_personas where lang = $lang) as duplicates,
    (select count(*) from conversations where lang = $lang) as conversations,
    (select count(*) from rejected_conversations where lang = $lang) as conversations_rejected,
    (
        select arg_max(settings, materialized_at)
        from materializations
        where lang = $lang and asset = 'raw_personas'
    ) as settings;
