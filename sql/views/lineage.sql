-- Every persona with its parent, its root, its seed document and the conversations made from it.
create or replace view lineage as
select
    raw.lang,
    raw.persona_id,
    raw.hop,
    raw.relation,
    raw.relation_label,
    raw.parent_persona_id,
    raw.root_persona_id,
    raw.doc_id,
    document.url,
    document.source,
    raw.answer_key,
    raw.prompt_version,
    (
        select list(conversation.id order by conversation.id)
        from conversations as conversation
        where conversation.lang = raw.lang and conversation.persona_id = raw.persona_id
    ) as conversation_ids
from raw_personas as raw
left join seed_documents as document using (lang, doc_id);
