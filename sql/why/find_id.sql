-- What an id names, in every table it may stand in.
select 'document' as kind, lang, doc_id as id from seed_documents where doc_id = $id or source_id = $id
union
select 'rejected document', lang, doc_id from rejected_documents where doc_id = $id or source_id = $id
union
select 'persona', lang, persona_id from raw_personas where persona_id = $id
union
select 'conversation', lang, id from conversations where id = $id
union
select 'rejected conversation', lang, id from rejected_conversations where id = $id
union
select 'reply', lang, answer_key from llm_answers where answer_key = $id
union
select 'reply', lang, answer_key from rejected_replies where answer_key = $id
union
select 'reply', lang, answer_key from rejected_conversations where answer_key = $id
union
select 'run', min(lang), run_id from materializations where run_id = $id group by run_id
order by all;
